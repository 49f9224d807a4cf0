package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"minibot/hint"
	"minibot/stack"
)

// engineAnswers says which engine answers, or all places where none does.
func (v *visit) engineAnswers(context.Context) []Finding {
	cfg, err := v.config()
	if err != nil {
		return []Finding{unknown("it depends on %s", v.Paths.Config)}
	}
	engine, err := v.engine()
	if err != nil {
		command := v.startEngine(err)
		if cfg.DockerHost != "" {
			command = edit(v.Paths.Config)
		}
		return []Finding{finding(Failure, command, "%s", line(err))}
	}
	info := engine.Info()
	if older(info.API, stack.MinAPI) {
		return []Finding{finding(Warning, "", "engine %s at %s speaks API %s; minibot is tested with %s and later: update it", info.Version, info.Host, info.API, stack.MinAPI)}
	}
	why := info.Reason
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT"} {
		if cfg.DockerHost == "" && v.Getenv(name) != "" {
			why += ", which the daemon's environment may lack"
			break
		}
	}
	return []Finding{ok("engine %s, API %s, at %s, by %s", info.Version, info.API, info.Host, why)}
}

// older compares versions such as 1.41. What is no version is older than any.
func older(a, b string) bool {
	x, y := numbers(a), numbers(b)
	return x == nil || slices.Compare(x, y) < 0
}

func numbers(version string) []int {
	var list []int
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		list = append(list, n)
	}
	return list
}

// startEngine is the command that starts the engine which is installed here, or lets this user use the one that runs.
func (v *visit) startEngine(err error) string {
	if v.GOOS != "darwin" {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EACCES) {
			return v.asRoot("usermod -aG docker " + hint.Word(v.User))
		}
		return v.asRoot("systemctl start docker")
	}
	for _, app := range []string{"Docker", "OrbStack"} {
		if _, err := os.Stat(filepath.Join(v.Apps, app+".app")); err == nil {
			return "open -a " + app
		}
	}
	if _, err := os.Stat(filepath.Join(v.UserHome, ".colima")); err == nil {
		return "colima start"
	}
	return "brew install --cask docker && open -a Docker"
}

// asked is what the engine says of the project; where it says nothing the finding is all there is to say.
func (v *visit) asked() (stack.Checkup, *Finding) {
	c, err := v.checkup()
	if err == nil {
		return c, nil
	}
	f := unknown("%s", line(err))
	if _, failed := v.config(); failed != nil {
		f = unknown("it depends on %s", v.Paths.Config)
	} else if _, failed := v.project(); failed != nil {
		f = unknown("it depends on the compose file, which cannot be loaded")
	} else if _, failed := v.engine(); failed != nil {
		f = unknown("no engine answers")
	}
	return c, &f
}

func (v *visit) images(context.Context) []Finding {
	c, cannot := v.asked()
	if cannot != nil {
		return []Finding{*cannot}
	}
	var found []Finding
	for _, image := range slices.Sorted(maps.Keys(c.Missing)) {
		command := "docker pull " + hint.Word(image)
		if strings.HasPrefix(image, "minibot/") && strings.HasSuffix(image, ":local") {
			command = "scripts/images"
		}
		found = append(found, finding(Failure, command, "image %s of service %s is not there, and minibot pulls none", image, c.Missing[image]))
	}
	return orOK(found, "all are there")
}

// ports tells who has a port that a service is to have. Without an engine a port that is taken may be the stack's own.
func (v *visit) ports(ctx context.Context) []Finding {
	project, err := v.project()
	if err != nil {
		return []Finding{unknown("it depends on the compose file, which cannot be loaded")}
	}
	c, cannot := v.asked()
	var found []Finding
	wanted := project.Ports()
	for _, port := range wanted {
		holder := slices.IndexFunc(c.Ports, func(p stack.Port) bool {
			return p.Port == port.Port && p.Protocol == port.Protocol && overlap(p.Address, port.Address)
		})
		switch {
		case holder < 0:
			found = append(found, v.taken(ctx, port, cannot != nil)...)
		case c.Ports[holder].Project != project.Name:
			other := c.Ports[holder]
			found = append(found, finding(Failure, "docker stop "+hint.Word(other.Container), "%s is held by container %s", title(port), other.Container))
		}
	}
	if len(wanted) == 0 {
		return []Finding{ok("no service publishes one")}
	}
	return orOK(found, "%d of the stack's are free, or its own", len(wanted))
}

func title(p stack.Port) string {
	return fmt.Sprintf("port %s/%s of service %s", net.JoinHostPort(p.Address, strconv.Itoa(p.Port)), p.Protocol, p.Service)
}

// overlap reports whether two addresses cannot both have one port.
func overlap(a, b string) bool {
	everywhere := func(s string) bool { return s == "" || s == "0.0.0.0" || s == "::" }
	return a == b || everywhere(a) || everywhere(b)
}

// taken tries to listen on a port that no container has.
func (v *visit) taken(ctx context.Context, port stack.Port, blind bool) []Finding {
	if port.Protocol != "tcp" {
		return nil // a datagram's port shows only when the engine binds it
	}
	listener, err := v.Listen(ctx, "tcp", net.JoinHostPort(port.Address, strconv.Itoa(port.Port)))
	switch {
	case err == nil:
		_ = listener.Close() // nobody has come
		return nil
	case errors.Is(err, syscall.EACCES):
		return nil // below 1024: the engine may
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return []Finding{finding(Failure, edit(v.paths().Compose), "%s: this machine has no such address", title(port))}
	case !errors.Is(err, syscall.EADDRINUSE):
		return []Finding{unknown("%s cannot be tried", title(port))}
	case blind:
		return []Finding{unknown("%s is held, perhaps by the engine for the stack itself, which does not answer", title(port))}
	}
	pid, name, uid, known := v.holder(ctx, port.Port)
	if !known {
		return []Finding{finding(Failure, v.asRoot(fmt.Sprintf("lsof -nP -iTCP:%d -sTCP:LISTEN", port.Port)), "%s is held by a process that this user cannot see", title(port))}
	}
	command := fmt.Sprintf("kill %d", pid)
	if uid != v.UID {
		command = v.asRoot(command)
	}
	return []Finding{finding(Failure, command, "%s is held by %s (pid %d); or give the stack another port in [env] of config.toml", title(port), name, pid)}
}

// holder asks lsof who listens on a port of TCP. Its answer with -F is a line for each field: p, c and u, then f of each socket.
func (v *visit) holder(ctx context.Context, port int) (pid int, name string, uid int, known bool) {
	said, err := ask(ctx, v.Programs.Lsof, "-nP", "-iTCP:"+strconv.Itoa(port), "-sTCP:LISTEN", "-Fpcu")
	if err != nil || said.exit != 0 {
		return 0, "", 0, false
	}
	uid = -1
	for l := range strings.SplitSeq(said.stdout, "\n") {
		if l == "" {
			continue
		}
		switch value := l[1:]; l[0] {
		case 'p':
			if pid != 0 { // the first is enough
				return pid, name, uid, name != "" && uid >= 0
			}
			if pid, err = strconv.Atoi(value); err != nil || pid <= 0 {
				return 0, "", 0, false
			}
		case 'c':
			name = value
		case 'u':
			if uid, err = strconv.Atoi(value); err != nil {
				return 0, "", 0, false
			}
		}
	}
	return pid, name, uid, pid > 0 && name != "" && uid >= 0
}

// Room below which a disk is too full, in bytes: a store or a journal that cannot be written refuses changes, and Postgres stops.
const (
	lowRoom  = 1 << 30
	noRoom   = 64 << 20
	megabyte = 1 << 20
)

func (v *visit) disk(ctx context.Context) []Finding {
	var found []Finding
	free, err := v.DiskFree(v.Paths.Home)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		found = append(found, unknown("how much room %s has", v.Paths.Home))
	default:
		found = append(found, room("the disk of "+v.Paths.Home, free, "du -xh -d 2 "+hint.Word(v.UserHome)+" | sort -h | tail -n 20")...)
	}
	return orOK(append(found, v.engineDisk(ctx)...), "there is room at home and for the engine")
}

func (v *visit) engineDisk(ctx context.Context) []Finding {
	if _, cannot := v.asked(); cannot != nil {
		return []Finding{unknown("how much room the engine has")}
	}
	project, _ := v.project() // asked has them
	engine, _ := v.engine()
	free, err := engine.Free(ctx, project)
	switch {
	case errors.Is(err, stack.ErrUnseen):
		return []Finding{finding(Warning, "docker system df", "cannot tell: the engine is in a machine of its own, and no running container shows how much room it has")}
	case err != nil:
		return []Finding{unknown("%s", line(err))}
	}
	return room("the engine's disk", free, "docker image prune --force")
}

func room(what string, free uint64, command string) []Finding {
	switch {
	case free < noRoom:
		return []Finding{finding(Failure, command, "%s has %d MiB free", what, free/megabyte)}
	case free < lowRoom:
		return []Finding{finding(Warning, command, "%s has %d MiB free", what, free/megabyte)}
	}
	return nil
}

// How far the engine's clock may be off: a token of an hour's validity is refused with a few minutes, TLS with hours.
const (
	offWarning = 5 * time.Second
	offFailure = 5 * time.Minute
)

func (v *visit) clock(context.Context) []Finding {
	c, cannot := v.asked()
	if cannot != nil {
		return []Finding{*cannot}
	}
	off := c.Off.Round(time.Second)
	switch {
	case c.Clock.IsZero():
		return []Finding{unknown("the engine does not say what time it has")}
	case off.Abs() < offWarning:
		return []Finding{ok("the engine's is this machine's, to a few seconds")}
	}
	state := Warning
	if off.Abs() > offFailure {
		state = Failure
	}
	return []Finding{finding(state, v.setClock(), "the engine's clock is %v off: tokens and certificates are refused", off)}
}

// setClock is the command that gives the engine the right time: those in a virtual machine take it when they start.
func (v *visit) setClock() string {
	if v.GOOS != "darwin" {
		return v.asRoot("timedatectl set-ntp true")
	}
	engine, err := v.engine()
	if err != nil {
		return ""
	}
	switch host := engine.Info().Host; {
	case strings.Contains(host, "/.orbstack/"):
		return "orbctl stop && orbctl start"
	case strings.Contains(host, "/.colima/"):
		return "colima restart"
	}
	return `osascript -e 'quit app "Docker"' && open -a Docker`
}
