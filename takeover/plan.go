package takeover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"minibot/config"
	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/security"
	"minibot/stack"
)

// Adopter moves the data of old containers into minibot's stack. Its fields are fixed once it works; it is for one goroutine. No
// minibotd may run meanwhile: who uses it holds the daemon's lock.
type Adopter struct {
	Engine   *stack.Engine
	Paths    config.Paths
	Config   config.Config
	UserHome string
	// Load loads the compose file with these variables.
	Load    func(ctx context.Context, env map[string]string) (*stack.Project, error)
	Launchd Launchctl // nil where there is no launchd: no agent runs there
	// Keychain is that of Surroundings.
	Keychain func(ctx context.Context) ([]security.Address, error)
	// Hold keeps the whole stack down until it is called with false, also over restarts of minibotd and of the machine.
	Hold   func(down bool) error
	Report func(service, message string)
	At     func(point string) // called at points where tests end the process; nil for nobody
}

// Plan is what an adoption will do.
type Plan struct {
	Findings Findings          `json:"findings"`
	Project  string            `json:"project"`
	Env      map[string]string `json:"env,omitempty"` // to be set in config.toml's [env]
	Why      []string          `json:"why,omitempty"` // of each of these, and what else is to be known
	Moves    []Move            `json:"moves"`
	Resumed  bool              `json:"resumed"` // an adoption that was begun before goes on
	Done     bool              `json:"done"`    // there is nothing left to do

	project *stack.Project // with Env
	journal *Journal
}

// Steps are the plan in words, in the order in which they are taken.
func (p *Plan) Steps() []string {
	var steps []string
	for _, f := range p.Findings.Of(KindAgent) {
		steps = append(steps, fmt.Sprintf("disable login agent %s and move %s aside", cmp.Or(f.Label, filepath.Base(f.Place)), f.Place))
	}
	for _, m := range p.Moves {
		if m.Container == "" {
			continue
		}
		step := "stop container " + m.Name
		if m.Restart != "" && m.Restart != "no" {
			step += fmt.Sprintf(", with the restart policy no instead of %s", m.Restart)
		}
		if m.Renamed != "" {
			step += ", and rename it to " + m.Renamed
		}
		steps = append(steps, step)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		steps = append(steps, fmt.Sprintf("set %s = %q in config.toml's [env]", name, p.Env[name]))
	}
	steps = append(steps, "create the containers and volumes of project "+p.Project)
	for _, m := range p.Moves {
		if m.Path != "" || m.Folder != "" {
			steps = append(steps, fmt.Sprintf("copy the data of %s from %s into service %s, and compare the copy", m.Kind, m.source(), m.Service))
		}
	}
	return append(steps, "start the stack, and prove that the stored passwords log in")
}

// Plan looks at everything and changes nothing: a container through which it reads a folder never runs, and is removed. What stands in the way of an adoption is an error.
func (a *Adopter) Plan(ctx context.Context) (*Plan, error) {
	journal, err := ReadJournal(a.Paths)
	if err != nil {
		return nil, err
	}
	project, err := a.Load(ctx, a.Config.Env)
	if err != nil {
		return nil, err
	}
	if len(project.Requirements) == 0 {
		return nil, hint.Wrap(fmt.Errorf("%s asks for no secrets: it is not minibot's", project.File),
			"if it is the older stack's, rename it, and `mb-secrets init` writes minibot's")
	}
	residents, err := a.Engine.Residents(ctx)
	if err != nil {
		return nil, err
	}
	s := Surroundings{UserHome: a.UserHome, Home: a.Paths.Home, Required: required(project), Project: project, Residents: residents, Keychain: a.Keychain}
	p := &Plan{Project: project.Name, Moves: []Move{}, Env: map[string]string{}, project: project, journal: journal}
	if p.Findings, err = Detect(ctx, s); err != nil {
		return nil, err
	}
	if a.Launchd == nil {
		p.Findings = slices.DeleteFunc(p.Findings, func(f Finding) bool { return f.Kind == KindAgent })
	}
	switch {
	case journal != nil && journal.Done != nil:
		p.Done = true
		return p, nil
	case journal != nil:
		p.Resumed, p.Moves, p.Env, p.Project = true, journal.Moves, journal.Env, journal.Project
		err = a.stillThere(p, residents)
	default:
		err = a.decide(ctx, p, s)
	}
	if err != nil {
		return nil, err
	}
	if p.Done = len(p.Moves) == 0 && len(p.Findings.Of(KindAgent)) == 0; p.Done {
		return p, nil
	}
	if err := a.settle(ctx, p); err != nil {
		return nil, err
	}
	return p, a.inTheWay(p, residents)
}

// stillThere makes sure of the old containers of an adoption that was begun before.
func (a *Adopter) stillThere(p *Plan, residents []stack.Resident) error {
	for _, m := range p.Moves {
		is := func(r stack.Resident) bool { return r.ID == m.Container }
		if m.Container != "" && m.State != moveCopied && !slices.ContainsFunc(residents, is) {
			return hint.Wrap(fmt.Errorf("container %s, which had the data of %s, was removed since this adoption began", m.Name, m.Service),
				"remove %s, and `minibotd adopt` looks for data anew", hint.Word(journalPath(a.Paths)))
		}
	}
	return nil
}

func required(p *stack.Project) []secrets.Name {
	var names []secrets.Name
	for _, r := range p.Requirements {
		names = append(names, r.Name)
	}
	return names
}

// decide finds the data of each service, and what the configuration must say for them.
func (a *Adopter) decide(ctx context.Context, p *Plan, s Surroundings) error {
	for _, role := range Roles(s.Project) {
		m := Move{Service: role.Service, Kind: role.Kind, User: role.User, Base: role.Database}
		old := predecessor(s, role)
		var err error
		switch {
		case old != nil && old.Unseen != nil:
			err = hint.Wrap(fmt.Errorf("container %s seems to have the data of %s, and cannot be looked at: %w", old.Name, role.Service, old.Unseen),
				"see what `docker inspect %s` says; start the engine anew, or `docker rm` the container if its data are of no use", hint.Word(old.Name))
		case old != nil:
			if slices.ContainsFunc(p.Moves, func(known Move) bool { return known.Container == old.ID }) {
				continue
			}
			err = a.fromContainer(ctx, p, &m, *old)
		case role.Kind == postgres:
			err = a.fromFolder(ctx, p, &m)
		}
		if err != nil {
			return err
		}
		if m.Container == "" && m.Folder == "" {
			continue
		}
		if role.Kind == postgres && m.Version != "" {
			if err := a.fitImage(ctx, p, s.Project, m, old); err != nil {
				return err
			}
		}
		p.Moves = append(p.Moves, m)
	}
	return nil
}

// fromContainer finds where the data of an old container lie.
func (a *Adopter) fromContainer(ctx context.Context, p *Plan, m *Move, old stack.Resident) error {
	m.Container, m.Name, m.Restart, m.Ran = old.ID, old.Name, old.Restart, old.Running
	if old.Name == p.project.Services[m.Service].Container {
		m.Renamed = oldName(old.Name)
	}
	if old.Project == p.Project && p.Env[nameVariable] == "" {
		p.Env[nameVariable] = p.Project + "-stack"
		p.Why = append(p.Why, fmt.Sprintf("the old containers are of a compose project called %s, too: under that name minibot would replace them", p.Project))
	}
	for _, place := range oldPlaces(m.Kind, old) {
		has, err := a.Engine.HasPath(ctx, old.ID, place.proof)
		if err != nil {
			return err
		}
		if has {
			m.Path = place.folder
			break
		}
	}
	if old.Fleeting {
		return fleeting(*m, old)
	}
	if m.Path == "" && m.Kind == postgres && !old.StartedAt.IsZero() {
		return hint.Wrap(fmt.Errorf("container %s has run, but there are no data of Postgres in it", old.Name),
			"see whether the disk that has its data is there; `docker rm %s` if they are of no use", hint.Word(old.Name))
	}
	if m.Path == "" {
		p.Why = append(p.Why, fmt.Sprintf("container %s has no data of %s: it is stopped, and service %s begins empty", old.Name, m.Kind, m.Service))
		return nil
	}
	if m.Kind != postgres {
		return nil
	}
	version, err := a.Engine.ReadSmall(ctx, old.ID, m.Path+"/PG_VERSION")
	if err != nil {
		return err
	}
	m.Version = strings.TrimSpace(string(version))
	return a.askRoles(ctx, p, *m, old)
}

// fleeting refuses a container that could not be stopped without losing it, and says how to keep what it has.
func fleeting(m Move, old stack.Resident) error {
	err := fmt.Errorf("container %s cannot be kept: %w", old.Name, stack.ErrFleeting)
	if _, _, kept := old.DataMount(m.Path); m.Path != "" && !kept {
		return hint.Wrap(err, "its data are in no volume: `docker cp %s:%s FOLDER` saves them", hint.Word(old.Name), hint.Word(m.Path))
	}
	name := hint.Word(old.Name)
	return hint.Wrap(err, "`docker create --name %s-kept --volumes-from %s %s && docker stop %s && until docker rename %s-kept %s; do sleep 1; done` has another container hold its volumes; then `minibotd adopt` again",
		name, name, hint.Word(old.Image), name, name, name)
}

// nameVariable is what the shipped compose file takes the project's name from.
const nameVariable = "MINIBOT_NAME"

// place is a folder in an old container, and what lies there if it holds data.
type place struct{ folder, proof string }

// oldPlaces are the folders in which an old container may have data, the likeliest first.
func oldPlaces(kind string, old stack.Resident) (places []place) {
	switch kind {
	case postgres:
		for _, folder := range []string{old.Settings["PGDATA"], postgresData, postgresData + "/pgdata"} {
			if folder != "" {
				places = append(places, place{filepath.Clean(folder), filepath.Clean(folder) + "/PG_VERSION"})
			}
		}
	case redis:
		for _, proof := range []string{redisRows, redisLog, redisDump} {
			places = append(places, place{redisData, redisData + "/" + proof})
		}
	case openclaw:
		for _, m := range old.Mounts {
			if filepath.Base(m.Target) == ".openclaw" && !m.Memory {
				places = append(places, place{m.Target, m.Target})
			}
		}
		places = append(places, place{openclawData, openclawData}, place{"/root/.openclaw", "/root/.openclaw"})
	}
	return places
}

// fromFolder takes the one data folder below minibot's home, where no container tells.
func (a *Adopter) fromFolder(ctx context.Context, p *Plan, m *Move) error {
	versions := map[string]string{}
	for _, f := range p.Findings.Of(KindData) {
		version, err := head(filepath.Join(f.Folder, "PG_VERSION"))
		if err != nil {
			return fmt.Errorf("read the version of the old data: %w", err)
		}
		versions[f.Folder] = string(version)
	}
	for _, f := range p.Findings.Of(KindUnread) {
		version, err := a.askEngine(ctx, p, m.Service, f.Folder)
		if err != nil {
			return err
		}
		if version != "" {
			versions[f.Folder] = version
		}
	}
	folders := slices.Sorted(maps.Keys(versions))
	if len(folders) > 1 {
		return hint.Wrap(fmt.Errorf("%s and %s both hold data of Postgres, and no container tells which of them counts", folders[0], folders[1]),
			"move all but one out of minibot's folder")
	}
	if len(folders) == 0 {
		return nil
	}
	folder, err := filepath.EvalSymlinks(folders[0]) // the engine may not see what a link of this machine points to
	if err != nil {
		return fmt.Errorf("find the old data: %w", err)
	}
	m.Folder, m.Version = folder, strings.TrimSpace(versions[folders[0]])
	return nil
}

// askEngine has the engine read the version of the data in a folder that only a database's own user may look into; "" for none.
func (a *Adopter) askEngine(ctx context.Context, p *Plan, service, folder string) (version string, err error) {
	image := p.project.Services[service].Image
	if _, missing := a.Engine.ImageSettings(ctx, image); folder == "" || missing != nil { // that it is missing is said later
		return "", nil
	}
	window, at, shut, err := a.Engine.Window(ctx, image, folder)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, shut(context.WithoutCancel(ctx))) }()
	has, err := a.Engine.HasPath(ctx, window, at+"/PG_VERSION")
	if err != nil || !has {
		return "", err
	}
	data, err := a.Engine.ReadSmall(ctx, window, at+"/PG_VERSION")
	return string(data), err
}

// fitImage has the configuration name an image that runs the data.
func (a *Adopter) fitImage(ctx context.Context, p *Plan, project *stack.Project, m Move, old *stack.Resident) error {
	reference := project.Services[m.Service].Image
	known, err := a.Engine.ImageSettings(ctx, reference)
	if err != nil && !errors.Is(err, stack.ErrImageMissing) { // its tag tells, then
		return err
	}
	now, before := factsOf(reference, known["PG_MAJOR"]), imageFacts{}
	if old != nil {
		before = factsOf(old.Image, old.Settings["PG_MAJOR"])
	}
	ref, why, err := chooseImage(m.Version, now, before)
	if err != nil || ref == "" {
		return err
	}
	p.Env["MINIBOT_"+strings.ToUpper(m.Kind)+"_IMAGE"] = ref
	p.Why = append(p.Why, why)
	return nil
}

// settle loads the project as it is to be, and makes sure that it comes out so and can be created.
func (a *Adopter) settle(ctx context.Context, p *Plan) error {
	env := maps.Clone(a.Config.Env)
	maps.Copy(env, p.Env)
	project, err := a.Load(ctx, env)
	if err != nil {
		return err
	}
	for _, m := range p.Moves {
		image := p.Env["MINIBOT_"+strings.ToUpper(m.Kind)+"_IMAGE"]
		if got := project.Services[m.Service].Image; image != "" && got != image {
			return hint.Wrap(fmt.Errorf("service %s must run image %s, but the compose file does not take it from [env]", m.Service, image),
				"write `image: %s` under %s in %s", image, m.Service, a.Paths.Compose)
		}
	}
	if name := p.Env[nameVariable]; name != "" && project.Name != name {
		return hint.Wrap(fmt.Errorf("the project must get another name than the old containers', %s, but the compose file does not take it from [env]", project.Name),
			"write `name: %s` into %s", name, a.Paths.Compose)
	}
	for i, m := range p.Moves {
		if m.Renamed != "" && !p.Resumed && project.Services[m.Service].Container != m.Name {
			p.Moves[i].Renamed = "" // the new stack has another name by now
		}
	}
	p.project, p.Project = project, project.Name
	return a.Engine.CheckImages(ctx, project)
}

// inTheWay refuses what would keep the new stack from starting and is not adopted.
func (a *Adopter) inTheWay(p *Plan, residents []stack.Resident) error {
	moved := func(r stack.Resident) bool {
		return slices.ContainsFunc(p.Moves, func(m Move) bool { return m.Container == r.ID })
	}
	for _, r := range residents {
		if moved(r) || r.Made && r.Project == p.Project {
			continue
		}
		for name, service := range p.project.Services {
			ports := p.project.Published(name)
			port := slices.IndexFunc(r.Ports, func(port string) bool { return slices.Contains(ports, port) })
			switch {
			case r.Name == service.Container:
				return hint.Wrap(fmt.Errorf("container %s has the name that service %s needs, and is not adopted", r.Name, name), "docker rename %s %s", r.Name, oldName(r.Name))
			case r.Running && port >= 0:
				return hint.Wrap(fmt.Errorf("container %s holds port %s of service %s, and is not adopted", r.Name, r.Ports[port], name), "docker stop %s", r.Name)
			}
		}
	}
	return nil
}
