package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"
)

// MinAPI is the oldest version of the engine's API that minibot is tested with: Docker Engine 20.10.
const MinAPI = "1.41"

// Port is a port of the machine that a service is to have, or that a container has.
type Port struct {
	Service, Container, Project string // of a project's own port, Service alone
	Address                     string // "" for all
	Port                        int
	Protocol                    string // tcp or udp
}

// Checkup is what a person wants to know of an engine before a project is brought up on it.
type Checkup struct {
	Clock   time.Time         // the engine's; zero when it does not say
	Off     time.Duration     // how far Clock was ahead of this machine's, to half the time that the answer took
	Missing map[string]string // images that are not there, and a service that wants each
	Ports   []Port            // that running containers hold
}

// Ports lists what the project's services publish on the machine, by service and port. Ranges are written out.
func (p *Project) Ports() []Port {
	var all []Port
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		for _, port := range p.rewritten.Services[name].Ports {
			first, last, isRange := strings.Cut(port.Published, "-")
			from, err := strconv.ParseUint(first, 10, 16)
			to := from
			if err == nil && isRange {
				to, err = strconv.ParseUint(last, 10, 16)
			}
			if err != nil { // none, or one that the engine chooses
				continue
			}
			for n := from; n <= to && n > 0; n++ {
				all = append(all, Port{Service: name, Address: port.HostIP, Port: int(n), Protocol: cmp.Or(port.Protocol, "tcp")}) //nolint:gosec // 16 bits
			}
		}
	}
	return all
}

// Checkup asks the engine. It changes nothing.
func (e *Engine) Checkup(ctx context.Context, p *Project) (Checkup, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	asked := time.Now()
	info, err := e.docker.Info(ctx)
	if err != nil {
		return Checkup{}, wrap(err, "ask the engine about itself")
	}
	c := Checkup{Clock: engineTime(info.SystemTime), Missing: map[string]string{}}
	if !c.Clock.IsZero() {
		c.Off = c.Clock.Sub(asked.Add(time.Since(asked) / 2).Round(0))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		reference := p.Services[name].Image
		_, err := e.docker.ImageInspect(ctx, reference)
		if cerrdefs.IsNotFound(err) {
			c.Missing[reference] = name
		} else if err != nil {
			return Checkup{}, wrap(err, "service %s: look for image %s", name, reference)
		}
	}
	list, err := e.docker.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return Checkup{}, wrap(err, "list the containers")
	}
	for _, running := range list {
		for _, port := range running.Ports {
			if port.PublicPort != 0 {
				c.Ports = append(c.Ports, Port{Service: running.Labels[api.ServiceLabel], Container: plainName(running.Names),
					Project: running.Labels[api.ProjectLabel], Address: port.IP, Port: int(port.PublicPort), Protocol: port.Type})
			}
		}
	}
	return c, nil
}

// ErrUnseen says that nothing shows how much room the engine has: it runs in a machine of its own, and no container there
// has the program df.
var ErrUnseen = errors.New("the engine does not show how much room it has")

// Free returns how many bytes the engine's disk has free, where its images and volumes lie. An engine on this machine is
// looked at from here; of one in a virtual machine a running container of the project is asked (`df -Pk /`), or ErrUnseen.
func (e *Engine) Free(ctx context.Context, p *Project) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if strings.HasPrefix(e.info.Host, "unix://") && runtime.GOOS == "linux" {
		info, err := e.docker.Info(ctx)
		if err != nil {
			return 0, wrap(err, "ask the engine about itself")
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(info.DockerRootDir, &fs); err == nil {
			return fs.Bavail * uint64(fs.Bsize), nil //nolint:gosec // the kernel's, positive
		} else if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			return 0, fmt.Errorf("look at the engine's disk: %w", err)
		}
	}
	return e.freeInside(ctx, p)
}

func (e *Engine) freeInside(ctx context.Context, p *Project) (uint64, error) {
	seen, err := e.Containers(ctx, p)
	if err != nil {
		return 0, err
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if c := seen[name]; c.Running && !c.Paused && name != KeeperService {
			result, err := e.Exec(ctx, c.ID, Exec{Cmd: []string{"df", "-Pk", "/"}})
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			if err == nil && result.ExitCode == 0 {
				if free, ok := parseDF(string(result.Stdout)); ok {
					return free, nil
				}
			}
		}
	}
	return 0, ErrUnseen
}

// parseDF reads what `df -Pk /` prints: a line of titles, and one with the KiB that are free in the fourth column.
func parseDF(text string) (uint64, bool) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) != 2 {
		return 0, false
	}
	columns := strings.Fields(lines[1])
	if len(columns) != 6 || columns[5] != "/" {
		return 0, false
	}
	free, err := strconv.ParseUint(columns[3], 10, 53)
	return free << 10, err == nil
}
