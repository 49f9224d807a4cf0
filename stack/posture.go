package stack

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
)

// Posture is how one container stands: what it may do, and who may reach it. The first of them, without a Container, is
// the engine's own: it has Endpoints, Swap and Noswap, and nothing else.
type Posture struct {
	Container, Project, Service string
	ID                          string // of the container, in full
	Running                     bool
	Keeper                      bool // it holds a minibot project's delivered secrets

	Ports      []PublishedPort // beyond the machine itself; sorted
	Root       bool            // a process of its own, not of an exec, has the user id 0 of the engine's machine
	Unseen     error           // why its processes could not be listed; Root says nothing then
	Privileged bool
	Added      []string // capabilities, without CAP_
	DropsAll   bool     // capabilities
	HostSpaces []string // namespaces of the machine that it is in: "pid", "ipc", "network", "user"
	Network    string   // its network mode
	ReadOnly   bool     // its root
	NoNew      bool     // privileges
	Pids       int64    // its limit of processes; 0 for none
	Restart    string   // its restart policy: "no", "always", …
	Mounts     []Mount  // sorted by target

	Endpoints []string // where the engine takes orders without TLS beyond a socket file
	Swap      string   // of the engine's machine: "on", "off" or "unknown"
	Noswap    bool     // its kernel can keep memory-backed files out of the swap
}

// PublishedPort is a port of the machine that leads into a container.
type PublishedPort struct{ Address, Port, Target string } // like 0.0.0.0, 8080, 80/tcp

// Mount is what a container has mounted.
type Mount struct {
	Target   string
	Source   string // a path of the engine's machine, or the name of a volume
	Bind     bool   // Source is a path
	Memory   bool   // a memory-backed volume, or a tmpfs
	ReadOnly bool
	Options  string // of a volume that is a mount of its own: "size=16m,nosuid"
}

// Postures inspects every container on the engine, running or not, and the engine itself. What vanished meanwhile is
// skipped. It changes nothing.
func (e *Engine) Postures(ctx context.Context) ([]Posture, error) {
	own, err := e.ownPosture(ctx)
	if err != nil {
		return nil, err
	}
	brief, cancel := briefly(ctx)
	defer cancel()
	volumes, err := e.docker.VolumeList(brief, volume.ListOptions{})
	if err != nil {
		return nil, wrap(err, "list the volumes")
	}
	options := map[string]map[string]string{}
	for _, v := range volumes.Volumes {
		if v.Driver == "local" {
			options[v.Name] = v.Options
		}
	}
	list, err := e.docker.ContainerList(brief, container.ListOptions{All: true})
	if err != nil {
		return nil, wrap(err, "list the containers")
	}
	all := []Posture{own}
	for _, c := range list {
		p, err := e.posture(ctx, c.ID, options)
		if cerrdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, wrap(err, "inspect container %s", cmp.Or(plainName(c.Names), shortID(c.ID)))
		}
		all = append(all, p)
	}
	return all, nil
}

func (e *Engine) ownPosture(ctx context.Context) (Posture, error) {
	brief, cancel := briefly(ctx)
	defer cancel()
	info, err := e.docker.Info(brief)
	if err != nil {
		return Posture{}, wrap(err, "ask the engine about itself")
	}
	p := Posture{Noswap: e.noswap, Swap: "unknown", Endpoints: openEndpoints(e.info.Host, e.secure, info.Warnings)}
	if strings.HasPrefix(e.info.Host, "unix://") && runtime.GOOS == "linux" { // the same machine
		if table, err := os.ReadFile("/proc/swaps"); err == nil {
			p.Swap = swapState(table)
		}
	}
	return p, nil
}

// swapState reads the kernel's table of swap devices: a line of titles, then one for each.
func swapState(table []byte) string {
	lines := bufio.NewScanner(bytes.NewReader(table))
	count := 0
	for lines.Scan() {
		count++
	}
	if count > 1 {
		return "on"
	}
	return "off"
}

// openEndpoints are where an engine listens in the clear: as it warns itself, and as it was dialled.
func openEndpoints(host string, secure bool, warnings []string) []string {
	var open []string
	for _, w := range warnings {
		for _, word := range strings.Fields(w) {
			if strings.Contains(w, "without encryption") && (strings.HasPrefix(word, "http://") || strings.HasPrefix(word, "tcp://")) {
				open = append(open, strings.TrimRight(word, ".,"))
			}
		}
	}
	if strings.HasPrefix(host, "tcp://") && !secure {
		open = append(open, host)
	}
	slices.Sort(open)
	return slices.Compact(open)
}

func (e *Engine) posture(ctx context.Context, id string, options map[string]map[string]string) (Posture, error) {
	brief, cancel := briefly(ctx)
	defer cancel()
	info, err := e.docker.ContainerInspect(brief, id)
	if err != nil {
		return Posture{}, err
	}
	p := postureOf(info, options)
	if p.Running {
		p.Root, p.Unseen = e.runsAsRoot(ctx, info)
	}
	return p, nil
}

// runsAsRoot looks at the container's own processes. An exec, such as a healthcheck, is none: it may be another user's,
// for a moment, without telling anything about the service.
func (e *Engine) runsAsRoot(ctx context.Context, info container.InspectResponse) (bool, error) {
	before := map[string]bool{}
	for look := range 2 { // what an exec left behind for a moment is not there twice
		list, err := e.processes(ctx, info.ID)
		if err != nil && ctx.Err() == nil && (cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err)) { // it has just stopped
			return false, nil
		}
		if err != nil {
			return false, wrap(err, "list the processes of container %s", strings.TrimPrefix(info.Name, "/"))
		}
		now := map[string]bool{}
		for _, p := range ownProcesses(list, info.State.Pid) {
			if (p.user == "0" || p.user == "root") && (look == 0 || before[p.pid]) {
				now[p.pid] = true
			}
		}
		if before = now; len(now) == 0 {
			return false, nil
		}
	}
	return true, nil
}

func postureOf(info container.InspectResponse, options map[string]map[string]string) Posture {
	host, state := info.HostConfig, info.State
	p := Posture{Container: strings.TrimPrefix(info.Name, "/"), ID: info.ID, Running: state.Running && !state.Restarting,
		Privileged: host.Privileged, Network: string(host.NetworkMode), ReadOnly: host.ReadonlyRootfs, Restart: cmp.Or(string(host.RestartPolicy.Name), "no")}
	if info.Config != nil {
		p.Project, p.Service = info.Config.Labels[api.ProjectLabel], info.Config.Labels[api.ServiceLabel]
	}
	for _, c := range host.CapAdd {
		p.Added = append(p.Added, strings.TrimPrefix(strings.ToUpper(c), "CAP_"))
	}
	slices.Sort(p.Added)
	p.DropsAll = slices.ContainsFunc(host.CapDrop, func(c string) bool { return strings.EqualFold(c, "ALL") })
	for _, space := range []struct {
		name string
		host bool
	}{{"pid", host.PidMode.IsHost()}, {"ipc", host.IpcMode.IsHost()}, {"network", host.NetworkMode.IsHost()}, {"user", host.UsernsMode.IsHost()}} {
		if space.host {
			p.HostSpaces = append(p.HostSpaces, space.name)
		}
	}
	p.NoNew = slices.ContainsFunc(host.SecurityOpt, func(o string) bool {
		return o == "no-new-privileges" || o == "no-new-privileges:true" || o == "no-new-privileges=true"
	})
	if host.PidsLimit != nil && *host.PidsLimit > 0 {
		p.Pids = *host.PidsLimit
	}
	p.Ports = publishedPorts(info)
	for _, m := range info.Mounts {
		o := options[m.Name]
		p.Mounts = append(p.Mounts, Mount{Target: m.Destination, Source: cmp.Or(m.Name, m.Source), Bind: m.Type == mount.TypeBind, ReadOnly: !m.RW,
			Memory: m.Type == mount.TypeTmpfs || m.Type == mount.TypeVolume && inMemory("local", o), Options: o["o"]})
	}
	for target, o := range host.Tmpfs {
		p.Mounts = append(p.Mounts, Mount{Target: target, Memory: true, Options: o})
	}
	slices.SortFunc(p.Mounts, func(a, b Mount) int { return cmp.Compare(a.Target, b.Target) })
	p.Keeper = p.Service == KeeperService && slices.ContainsFunc(p.Mounts, func(m Mount) bool { return m.Target == keeperRoot })
	return p
}

// publishedPorts are those that do not lead from loopback: of a running container as they are, of another as they will be.
func publishedPorts(info container.InspectResponse) []PublishedPort {
	bindings := info.HostConfig.PortBindings
	if info.State.Running && info.NetworkSettings != nil {
		bindings = info.NetworkSettings.Ports
	}
	var list []PublishedPort
	for target, published := range bindings {
		for _, b := range published {
			address, err := netip.ParseAddr(cmp.Or(b.HostIP, "0.0.0.0"))
			if err != nil || !address.IsLoopback() {
				list = append(list, PublishedPort{cmp.Or(b.HostIP, "0.0.0.0"), b.HostPort, string(target)})
			}
		}
	}
	slices.SortFunc(list, func(a, b PublishedPort) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port))
	})
	return list
}
