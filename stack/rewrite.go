package stack

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"

	"minibot/hint"
	"minibot/secrets"
)

// fault is an error about one node of the compose file; locate finds its line.
type fault struct {
	path []string
	err  error
	hint string
}

func (f *fault) Error() string { return strings.Join(f.path, ".") + ": " + f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func faultf(path []string, format string, args ...any) *fault {
	return &fault{path: path, err: fmt.Errorf(format, args...)}
}

// rewrite takes the secrets out of the project and puts the volumes and the keeper in, so that nothing of them passes
// through Compose and the engine starts nothing by itself.
func (p *Project) rewrite() error {
	if _, there := p.rewritten.Extensions[extensionKey]; there {
		return faultf([]string{extensionKey}, "belongs below a service or a secret")
	}
	names, err := p.readSecrets()
	if err != nil {
		return err
	}
	if p.rewritten.Volumes == nil {
		p.rewritten.Volumes = types.Volumes{}
	}
	for _, key := range slices.Sorted(maps.Keys(p.rewritten.Configs)) {
		variable := p.rewritten.Configs[key].Environment
		if _, set := p.rewritten.Environment[variable]; variable != "" && !set {
			return fmt.Errorf("configs.%s.environment: %w: %s", key, errUnset, variable)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.rewritten.Volumes)) {
		if key == recordVolume || strings.HasPrefix(key, volumePrefix) {
			return faultf([]string{"volumes", key}, "this name is reserved for the secrets' own volumes")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.rewritten.Services)) {
		service := p.rewritten.Services[name]
		if err := checkService(name, service); err != nil {
			return err
		}
		view, err := p.view(name, service, names)
		if err != nil {
			return err
		}
		p.Services[name] = view
		service, err = labelConfigs(p.rewritten, service)
		if err != nil {
			return err
		}
		service.Image, service.Build = view.Image, nil // nothing is built
		p.rewritten.Services[name] = withoutSecrets(service)
	}
	if err := p.checkContainerNames(); err != nil {
		return err
	}
	p.noteUsers()
	p.addKeeper()
	p.rewritten.Secrets = nil
	p.label()
	return nil
}

func (p *Project) checkContainerNames() error {
	owner := map[string]string{p.container(KeeperService): KeeperService}
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		c := p.Services[name].Container
		if other, taken := owner[c]; taken {
			return faultf([]string{"services", name, "container_name"}, "service %s has the container name %q too", other, c)
		}
		owner[c] = name
	}
	return nil
}

// view is what the rest of the program needs to know about a service.
func (p *Project) view(name string, service types.ServiceConfig, names map[string]secrets.Name) (Service, error) {
	at := []string{"services", name}
	extension, err := readServiceExtension(at, service.Extensions)
	if err != nil {
		return Service{}, err
	}
	if err := p.checkReload(name, extension); err != nil {
		return Service{}, err
	}
	heal, err := readHeal(append(slices.Clone(at), extensionKey, "heal"), extension.Heal)
	if err != nil {
		return Service{}, err
	}
	view := Service{Name: name, Container: service.ContainerName, Image: api.GetImageNameOrDefault(service, p.Name),
		OnChange: extension.OnChange, Signal: extension.Signal, Exec: extension.Exec, Heal: heal,
		Healthcheck: hasHealthcheck(service.HealthCheck), StopGrace: defaultStopGrace}
	if view.Container == "" {
		view.Container = p.Name + api.Separator + name + api.Separator + "1"
	}
	if service.StopGracePeriod != nil {
		view.StopGrace = time.Duration(*service.StopGracePeriod)
	}
	if err := p.checkStopTimeout(at, view, service); err != nil {
		return Service{}, err
	}
	for _, on := range slices.Sorted(maps.Keys(service.DependsOn)) {
		d := service.DependsOn[on]
		view.DependsOn = append(view.DependsOn, Dependency{Service: on, Condition: d.Condition, Required: d.Required, Restart: d.Restart})
	}
	view.Files, err = p.secretFiles(append(at, "secrets"), service.Secrets, names)
	if err != nil {
		return Service{}, err
	}
	for _, f := range view.Files {
		view.Secrets = append(view.Secrets, f.secrets()...)
	}
	slices.Sort(view.Secrets)
	view.Secrets = slices.Compact(view.Secrets)
	return view, checkMounts(at, service, len(view.Files) > 0)
}

func hasHealthcheck(h *types.HealthCheckConfig) bool {
	return h != nil && !h.Disable && len(h.Test) > 0 && h.Test[0] != "NONE"
}

// maxName is the most bytes of a service's name, and of a secret's file: names of containers and volumes, and the names of
// files on their way, are made of them, and a file's has at most 255.
const maxName = 200

func checkService(name string, service types.ServiceConfig) error {
	at := []string{"services", name}
	switch {
	case len(name) > maxName:
		return &fault{path: at, err: fmt.Errorf("a service's name has at most %d characters", maxName), hint: "give the service another name"}
	case name == KeeperService:
		return &fault{path: at, err: errors.New("this name is reserved for the container that holds the secrets"), hint: "give the service another name"}
	case len(service.PreStart) > 0:
		return faultf(append(at, "pre_start"), "lifecycle hooks are not supported")
	case len(service.PostStart) > 0:
		return faultf(append(at, "post_start"), "lifecycle hooks are not supported")
	case len(service.PreStop) > 0:
		return faultf(append(at, "pre_stop"), "lifecycle hooks are not supported")
	case service.Provider != nil:
		return faultf(append(at, "provider"), "provider services are not supported")
	case service.Scale != nil && *service.Scale != 1:
		return faultf(append(at, "scale"), "a service runs exactly one container, not %d", *service.Scale)
	case service.Deploy != nil && service.Deploy.Replicas != nil && *service.Deploy.Replicas != 1:
		return faultf(append(at, "deploy", "replicas"), "a service runs exactly one container, not %d", *service.Deploy.Replicas)
	}
	return nil
}

// checkMounts refuses what would lie over or under the secrets of a service.
func checkMounts(at []string, service types.ServiceConfig, hasFiles bool) error {
	if !hasFiles {
		return nil
	}
	inside := func(target string) bool {
		target = path.Clean(target)
		return target == secretsDir || strings.HasPrefix(target, secretsDir+"/")
	}
	for _, v := range service.Volumes {
		if inside(v.Target) {
			return faultf(append(at, "volumes"), "a mount at %s collides with the service's secrets", v.Target)
		}
	}
	for _, t := range service.Tmpfs {
		if target, _, _ := strings.Cut(t, ":"); inside(target) {
			return faultf(append(at, "tmpfs"), "a mount at %s collides with the service's secrets", target)
		}
	}
	for _, c := range service.Configs {
		if inside(c.Target) {
			return faultf(append(at, "configs"), "a config at %s collides with the service's secrets", c.Target)
		}
	}
	return nil
}

func (p *Project) secretFiles(at []string, references []types.ServiceSecretConfig, names map[string]secrets.Name) ([]File, error) {
	var files []File
	for i, reference := range references {
		file, err := secretFile(reference, names)
		if err != nil {
			return nil, &fault{path: append(slices.Clone(at), strconv.Itoa(i)), err: err, hint: hint.Of(err)}
		}
		for _, file := range append([]File{file}, p.companions(file)...) {
			if slices.ContainsFunc(files, func(f File) bool { return f.Name == file.Name }) {
				return nil, faultf(append(slices.Clone(at), strconv.Itoa(i)), "two secrets have the file name %q", file.Name)
			}
			files = append(files, file)
		}
	}
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	return files, nil
}

// errTarget: a service wants a secret at a place where minibot puts none.
var errTarget = errors.New("a secret lies directly in " + secretsDir + " and nowhere else")

func secretFile(reference types.ServiceSecretConfig, names map[string]secrets.Name) (File, error) {
	file := File{Secret: names[reference.Source], Name: strings.TrimPrefix(reference.Target, secretsDir+"/"), Mode: 0o444}
	if file.Name == "" {
		file.Name = reference.Source
	}
	if err := plainTarget(reference.Target, file.Name); err != nil {
		return File{}, err
	}
	if reference.Mode != nil {
		file.Mode = int64(*reference.Mode)
	}
	err := checkMode(file.Mode)
	if err == nil {
		file.UID, err = number("uid", reference.UID)
	}
	if err == nil {
		file.GID, err = number("gid", reference.GID)
	}
	return file, err
}

// plainTarget refuses a secret that would lie elsewhere than in the memory at /run/secrets.
func plainTarget(target, name string) error {
	switch {
	case path.IsAbs(target) && (name == target || strings.Contains(name, "/")):
		return hint.Wrap(fmt.Errorf("target %q: %w", target, errTarget),
			"write `target: %s`, and have the program read %s", path.Base(target), path.Join(secretsDir, path.Base(target)))
	case strings.Contains(name, "/") || strings.HasPrefix(name, ".") || printable(name) != name || len(name) > maxName:
		return hint.Wrap(fmt.Errorf("target %q is not a plain file name: %w", target, errTarget), "a name without a slash, which does not begin with a dot")
	}
	return nil
}

// checkMode refuses what can only be meant otherwise. Nobody can write to what is mounted read-only, and a mode that was
// not written in octal, such as 440, lets others write. Nothing may be executable, since engines drop a volume's noexec
// and nosuid where they mount it read-only.
func checkMode(mode int64) error {
	var err error
	switch {
	case mode&^0o777 != 0:
		err = fmt.Errorf("mode %#o has more than permission bits", mode)
	case mode&0o022 != 0:
		err = fmt.Errorf("mode %#o lets others than the owner write", mode)
	case mode&0o111 != 0:
		err = fmt.Errorf("mode %#o makes a secret a program", mode)
	case mode&0o444 == 0:
		err = fmt.Errorf("mode %#o lets nobody read", mode)
	}
	return hint.Wrap(err, "in octal, with a leading zero: `mode: 0400`, and `uid:` for who may read it")
}

func number(what, s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, hint.Wrap(fmt.Errorf("%s %q is not a number", what, s), "names of users are the image's own: see `id` in the container")
	}
	return int(n), nil
}

// withoutSecrets is the service as Compose gets to see it.
func withoutSecrets(service types.ServiceConfig) types.ServiceConfig {
	if len(service.Secrets) > 0 {
		service.Secrets = nil
		service.Volumes = append(service.Volumes, memoryMount(volumePrefix+service.Name, secretsDir, true))
	}
	service.Restart = types.RestartPolicyNo // any other lets the engine start it unfed after its own restart
	if service.Deploy != nil {
		service.Deploy.RestartPolicy = nil
	}
	service.PullPolicy = types.PullPolicyNever
	service.Labels = maps.Clone(service.Labels)
	service.Labels = service.Labels.Add(madeLabel, "1")
	return service
}

// noteUsers fills in who uses each secret: by its file, or in the clear.
func (p *Project) noteUsers() {
	p.noteExposed()
	for i := range p.Requirements {
		r := &p.Requirements[i]
		for _, name := range slices.Sorted(maps.Keys(p.Services)) {
			if s := p.Services[name]; slices.Contains(s.Secrets, r.Name) || slices.Contains(s.Exposed, r.Name) {
				r.UsedBy = append(r.UsedBy, name)
			}
		}
	}
}

func (p *Project) label() {
	for name, service := range p.rewritten.Services {
		service.CustomLabels = types.Labels{
			api.ProjectLabel: p.Name, api.ServiceLabel: name, api.VersionLabel: api.ComposeVersion, api.OneoffLabel: "False",
			api.WorkingDirLabel: p.rewritten.WorkingDir, api.ConfigFilesLabel: strings.Join(p.rewritten.ComposeFiles, ","),
		}
		p.rewritten.Services[name] = service
	}
}

// container is the name of a service's container, the keeper's included.
func (p *Project) container(service string) string {
	if service == KeeperService {
		return p.Name + api.Separator + KeeperService + api.Separator + "1"
	}
	return p.Services[service].Container
}
