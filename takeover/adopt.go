package takeover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"minibot/config"
	"minibot/hint"
	"minibot/stack"
)

// Where the official images keep their data, and what Redis calls them.
const (
	postgresData = "/var/lib/postgresql/data"
	redisData    = "/data"
	redisDump    = "dump.rdb"
	redisLog     = "appendonly.aof" // of Redis before 7, which later ones take over by themselves
	redisRows    = "appendonlydir"
	openclawData = "/home/node/.openclaw"
)

const nodeUID = 1000 // whom OpenClaw's official image runs as

// Carry out a plan, up to the point where the new stack can be started: what started the old one is disabled, its containers are stopped, the
// data are copied and compared. It keeps the stack down meanwhile, and after an error. Running it again, with a new plan, goes on.
func (a *Adopter) Carry(ctx context.Context, p *Plan) error {
	if p.journal == nil {
		p.journal = &Journal{Began: time.Now().UTC(), Project: p.Project, Env: p.Env, Moves: p.Moves}
	}
	if err := p.journal.write(a.Paths); err != nil {
		return err
	}
	if err := a.Hold(true); err != nil {
		return err
	}
	for _, f := range p.Findings.Of(KindAgent) {
		err := DisableAgent(ctx, f, a.Launchd, func(undo []string) error {
			for _, command := range undo {
				if !slices.Contains(p.journal.Undo, command) { // it was noted when it was tried before
					p.journal.Undo = append(p.journal.Undo, command)
				}
			}
			err := p.journal.write(a.Paths)
			a.at("agent/noted")
			return err
		})
		if err != nil {
			return err
		}
		a.at("agent/disabled")
		a.Report("", "login agent "+cmp.Or(f.Label, f.Place)+" is disabled")
	}
	if err := a.stopOld(ctx, p); err != nil {
		return err
	}
	if err := a.configure(p.Env); err != nil {
		return err
	}
	for i := range p.journal.Moves {
		if err := a.move(ctx, p, &p.journal.Moves[i]); err != nil {
			return err
		}
	}
	return a.Hold(false)
}

func (a *Adopter) at(point string) {
	if a.At != nil {
		a.At(point)
	}
}

// Finish notes that the new stack runs with the data.
func (a *Adopter) Finish(p *Plan) error {
	now := time.Now().UTC()
	p.journal.Done = &now
	return p.journal.write(a.Paths)
}

// Undo are the commands that bring back what Carry stopped. The data never went away.
func (p *Plan) Undo() []string {
	if p.journal == nil {
		return nil
	}
	return p.journal.UndoCommands()
}

// stopOld stops the old containers, the users of a database before it, and gives their names free.
func (a *Adopter) stopOld(ctx context.Context, p *Plan) error {
	order := slices.Clone(p.journal.Moves)
	slices.SortStableFunc(order, func(x, y Move) int { return rank(x.Kind) - rank(y.Kind) })
	for _, m := range order {
		if m.Container == "" || m.State == moveCopied {
			continue
		}
		signal := ""
		if m.Kind == postgres { // a fast shutdown: its TERM waits for every client to leave
			signal = "SIGINT"
		}
		if err := a.Engine.Retire(ctx, m.Container, signal); err != nil {
			return err
		}
		r, err := a.Engine.Resident(ctx, m.Container)
		if err != nil {
			return err
		}
		if m.Renamed != "" && r.Name == m.Name {
			if err := a.Engine.Rename(ctx, m.Container, m.Renamed); err != nil {
				return err
			}
		}
		a.Report(m.Service, "container "+m.Name+" is stopped, and the engine does not start it any more")
	}
	return nil
}

// rank puts who uses a database before it.
func rank(kind string) int { return slices.Index([]string{openclaw, redis, postgres}, kind) }

// configure sets variables in config.toml.
func (a *Adopter) configure(env map[string]string) error {
	cfg, err := config.Load(a.Paths.Home)
	if err != nil {
		return err
	}
	changed := false
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if cfg.Env[name] != env[name] {
			cfg.Env[name], changed = env[name], true
			a.Report("", fmt.Sprintf("%s is %q in config.toml", name, env[name]))
		}
	}
	if !changed {
		return nil
	}
	return config.Write(a.Paths.Config, cfg)
}

// move brings one service's data into its new volume, unless they are there.
func (a *Adopter) move(ctx context.Context, p *Plan, m *Move) error {
	if m.State == moveCopied {
		return nil
	}
	target := newFolder(m.Kind)
	if m.State == moveCopying {
		a.Report(m.Service, "a copy that was cut short is discarded")
		if err := a.discard(ctx, p.project, m, target); err != nil {
			return err
		}
	}
	if err := a.Engine.Create(ctx, p.project, a.Report); err != nil {
		return err
	}
	if m.Path == "" && m.Folder == "" {
		m.State = moveCopied
		return p.journal.write(a.Paths)
	}
	into, err := a.Engine.Resident(ctx, p.project.Services[m.Service].Container)
	if err != nil {
		return err
	}
	if folder := into.Settings["PGDATA"]; m.Kind == postgres && folder != "" {
		target = folder
	}
	if err := a.empty(ctx, into, m, target); err != nil {
		return err
	}
	m.State = moveCopying
	if err := p.journal.write(a.Paths); err != nil {
		return err
	}
	if err := a.copyData(ctx, p.project, m, into, target); err != nil {
		return err
	}
	m.State = moveCopied
	a.Report(m.Service, fmt.Sprintf("%d files, %s, are copied from %s and compared", m.Files, megabytes(m.Bytes), m.source()))
	return p.journal.write(a.Paths)
}

// newFolder is where a service of the new stack has its data, unless its container says otherwise.
func newFolder(kind string) string {
	return map[string]string{postgres: postgresData, redis: redisData, openclaw: openclawData}[kind]
}

// discard throws half a copy away, with the volume that it is in.
func (a *Adopter) discard(ctx context.Context, project *stack.Project, m *Move, target string) error {
	r, err := a.Engine.Resident(ctx, project.Services[m.Service].Container)
	if errors.Is(err, stack.ErrNoContainer) { // with its container gone the volume is looked at for data instead
		return nil
	}
	if err != nil {
		return err
	}
	mount, _, ok := r.DataMount(target)
	if !ok {
		return fmt.Errorf("container %s has no volume at %s", r.Name, target)
	}
	err = a.Engine.DiscardUnstarted(ctx, project, m.Service, mount)
	if errors.Is(err, stack.ErrStarted) {
		return hint.Wrap(fmt.Errorf("service %s has half a copy of the old data: %w", m.Service, err),
			"if nothing in it matters: `docker rm -f %s`, remove its volume with `docker volume rm`, then `minibotd adopt` again", r.Name)
	}
	return err
}

// empty refuses to copy over data.
func (a *Adopter) empty(ctx context.Context, into stack.Resident, m *Move, target string) error {
	proofs := map[string][]string{postgres: {"PG_VERSION"}, redis: {redisRows, redisLog, redisDump}, openclaw: {"openclaw.json", "agents", "credentials"}}
	for _, name := range proofs[m.Kind] {
		has, err := a.Engine.HasPath(ctx, into.ID, target+"/"+name)
		if err != nil {
			return err
		}
		if has || !into.StartedAt.IsZero() {
			return hint.Wrap(fmt.Errorf("service %s has run before, or has data already: nothing is copied over them", m.Service),
				"if nothing in it matters: `docker rm -f %s`, remove its volume with `docker volume rm`, then `minibotd adopt` again", into.Name)
		}
	}
	return nil
}

// copyData copies, then reads the copy back.
func (a *Adopter) copyData(ctx context.Context, project *stack.Project, m *Move, into stack.Resident, target string) (err error) {
	mount, below, ok := into.DataMount(target)
	if !ok {
		return hint.Wrap(fmt.Errorf("service %s keeps nothing at %s: the data would be gone with its container", m.Service, target), "give it a volume there in %s", project.File)
	}
	id, from := m.Container, m.Path
	if m.Folder != "" {
		window, at, shut, err := a.Engine.Window(ctx, project.Services[m.Service].Image, m.Folder)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, shut(context.WithoutCancel(ctx))) }()
		id, from = window, at
	}
	l, err := a.layout(ctx, m, id, from, into)
	if err != nil {
		return err
	}
	l.root = path.Join(path.Base(mount), below) // an engine leaves the folder that it unpacks into as it is, so that is the one above
	wrote, err := a.pump(ctx, m, l, id, from, into.ID, path.Dir(mount))
	if err != nil {
		return err
	}
	copied, err := a.Engine.Tree(ctx, into.ID, target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, copied.Close()) }()
	found, err := survey(copied)
	if err != nil {
		return err
	}
	m.Files, m.Bytes = wrote.files()
	return compare(wrote, found, m.Kind == postgres)
}

// layout is how the data of a kind are to lie in the new container.
func (a *Adopter) layout(ctx context.Context, m *Move, id, from string, into stack.Resident) (layout, error) {
	l := layout{}
	owner := map[string]string{postgres: "postgres", redis: "redis", openclaw: "node"}[m.Kind]
	users, err := a.Engine.ReadSmall(ctx, into.ID, "/etc/passwd")
	if err != nil {
		return l, err
	}
	ok := false
	if l.uid, l.gid, ok = idsOf(string(users), owner); !ok {
		if m.Kind != openclaw {
			return l, fmt.Errorf("image %s has no user %s", into.Image, owner)
		}
		l.uid, l.gid = nodeUID, nodeUID
	}
	switch m.Kind {
	case postgres:
		l.rootMode, l.last = 0o700, "PG_VERSION"
		l.keeps = func(name string) bool { return name != "postmaster.pid" }
	case redis:
		l.keeps = func(name string) bool { return name != "users.acl" }
		for _, name := range []string{redisRows, redisLog} {
			has, err := a.Engine.HasPath(ctx, id, from+"/"+name)
			if err != nil || has {
				return l, err
			}
		}
		// A Redis that keeps a log of what it does, as the new one, reads nothing but that log. So the dump becomes its first part.
		base := redisLog + ".1.base.rdb"
		l.renames = map[string]string{redisDump: redisRows + "/" + base}
		l.extra = map[string]string{redisRows + "/" + redisLog + ".manifest": "file " + base + " seq 1 type b\n"}
	case openclaw:
		l.links = true
		// minibot's configuration is in the compose file, and the old one may hold secrets in the clear
		l.keeps = func(name string) bool { return !strings.HasPrefix(name, "openclaw.json") && name != ".env" }
	}
	return l, nil
}

// idsOf finds a user in a passwd file.
func idsOf(passwd, name string) (uid, gid int, ok bool) {
	for _, line := range strings.Split(passwd, "\n") {
		fields := strings.Split(line, ":")
		if len(fields) < 4 || fields[0] != name {
			continue
		}
		uid, first := strconv.Atoi(fields[2])
		gid, second := strconv.Atoi(fields[3])
		return uid, gid, first == nil && second == nil
	}
	return 0, 0, false
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
