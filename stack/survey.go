package stack

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
)

// Exhibit is one thing on the engine that a secret might have leaked into, as text to search.
type Exhibit struct {
	Kind    string // "inspect", "exec", "process", "log", "layer", "volume" or "image-history"
	Object  string // "container NAME", "image NAME", "volume NAME" or "network NAME"
	Project string // the compose project it belongs to; "" for none
	Service string // of that project; "" where it is of none
	// Part says where in Object it is: "Config.Env[2]" for a leaf of an inspect, the path of a file, a stream's name. It may
	// hold what leaked, as every name on the engine may.
	Part string
	Body io.Reader // nil with Err; valid during the visit only; it never fails, it ends early
	Err  error     // why this, or the rest of it, could not be read
}

// The bounds of a survey.
const (
	volumeLimit = 256 << 20        // bytes of one volume's files that are read
	exportFrom  = 200              // changed files from which on a container is read as a whole rather than file by file
	streamIdle  = 30 * time.Second // a stream that brings nothing for so long has failed
)

// Survey shows everything on the engine that is kept in the clear: what an inspect of each container, image, volume and
// network says, strings and keys; how images were made; the commands of running execs, and the arguments of running
// processes; the logs of containers; the files that differ from the image, and those in volumes that a container mounts.
// It calls visit for one exhibit after the other, and ends with its error. Files are streamed, preceded by a line with their
// name; of each volume the first 256 MiB.
//
// Memory-backed volumes and tmpfs mounts are no exhibits: there secrets belong. Neither are files of images, nor what is
// bind-mounted. What vanished meanwhile is skipped; what could not be read is an exhibit with Err. Survey only fails when
// the engine is lost, when ctx ends or when visit does. It changes nothing.
func (e *Engine) Survey(ctx context.Context, visit func(Exhibit) error) error {
	s := &survey{engine: e, visit: visit, limit: volumeLimit, exportFrom: exportFrom}
	for _, step := range []func(context.Context) error{s.listVolumes, s.containers, s.images, s.networks, s.volumes} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// survey is one run of Survey.
type survey struct {
	engine     *Engine
	visit      func(Exhibit) error
	limit      int64
	exportFrom int

	listed []*volume.Volume
	memory map[string]bool // names of memory-backed volumes
	read   map[string]bool // names of volumes whose files were read
}

// briefly bounds a call whose answer is short.
func briefly(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callTimeout)
}

// fault deals with a failure to read x: nothing for what is gone, an exhibit for what cannot be read, an error when it
// makes no sense to go on.
func (s *survey) fault(ctx context.Context, x Exhibit, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err) && x.Kind == "process" { // it has just stopped
		return nil
	}
	brief, cancel := briefly(ctx)
	defer cancel()
	if lost(err) { // of one stream, or of the engine
		if _, ping := s.engine.docker.Ping(brief); ping != nil {
			return wrap(ping, "look at %s", x.Object)
		}
	}
	x.Body, x.Err = nil, err
	return s.visit(x)
}

// inspect shows what the engine answers to ask, strings and keys.
func (s *survey) inspect(ctx context.Context, of Exhibit, ask func(context.Context) ([]byte, error)) error {
	brief, cancel := briefly(ctx)
	defer cancel()
	raw, err := ask(brief)
	if err != nil {
		return s.fault(ctx, of, err)
	}
	return s.leaves(of, raw)
}

func (s *survey) listVolumes(ctx context.Context) error {
	brief, cancel := briefly(ctx)
	defer cancel()
	list, err := s.engine.docker.VolumeList(brief, volume.ListOptions{})
	if err != nil {
		return wrap(err, "list the volumes")
	}
	s.listed, s.memory, s.read = list.Volumes, map[string]bool{}, map[string]bool{}
	for _, v := range list.Volumes {
		s.memory[v.Name] = inMemory(v.Driver, v.Options)
	}
	return nil
}

// inMemory reports whether a volume of the engine's own driver is memory-backed.
func inMemory(driver string, options map[string]string) bool {
	return driver == "local" && (options["type"] == "tmpfs" || options["type"] == "ramfs")
}

func (s *survey) containers(ctx context.Context) error {
	brief, cancel := briefly(ctx)
	list, err := s.engine.docker.ContainerList(brief, container.ListOptions{All: true})
	cancel()
	if err != nil {
		return wrap(err, "list the containers")
	}
	for _, c := range list {
		of := Exhibit{Object: "container " + cmp.Or(plainName(c.Names), shortID(c.ID)),
			Project: c.Labels[api.ProjectLabel], Service: c.Labels[api.ServiceLabel]}
		if err := s.container(ctx, c.ID, of); err != nil {
			return err
		}
	}
	return nil
}

func (s *survey) container(ctx context.Context, id string, of Exhibit) error {
	of.Kind = "inspect"
	brief, cancel := briefly(ctx)
	info, raw, err := s.engine.docker.ContainerInspectWithRaw(brief, id, false)
	cancel()
	if err != nil {
		return s.fault(ctx, of, err)
	}
	if err := s.leaves(of, raw); err != nil {
		return err
	}
	for _, part := range []func(context.Context, container.InspectResponse, Exhibit) error{s.execs, s.processes, s.logs, s.layer, s.mounts} {
		if err := part(ctx, info, of); err != nil {
			return err
		}
	}
	return nil
}

// execs shows the configurations of running execs, which the client's own types leave out.
func (s *survey) execs(ctx context.Context, info container.InspectResponse, of Exhibit) error {
	of.Kind = "exec"
	for _, id := range info.ExecIDs {
		raw, err := s.engine.execConfig(ctx, id)
		if err != nil {
			err = s.fault(ctx, of, err)
		} else if raw != nil {
			err = s.leaves(of, raw)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// execConfig is what the engine knows of an exec, as JSON; nil for one that is gone.
func (e *Engine) execConfig(ctx context.Context, id string) ([]byte, error) {
	ctx, cancel := briefly(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/v"+e.docker.ClientVersion()+"/exec/"+id+"/json", nil)
	if err != nil {
		return nil, err
	}
	dial := e.docker.Dialer()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	switch response.StatusCode {
	case http.StatusOK:
		return io.ReadAll(response.Body)
	case http.StatusNotFound:
		return nil, nil
	}
	return nil, fmt.Errorf("inspect an exec: the engine answers %s", response.Status)
}

// processes shows the arguments of what runs in a container.
func (s *survey) processes(ctx context.Context, info container.InspectResponse, of Exhibit) error {
	of.Kind = "process"
	if !info.State.Running || info.State.Restarting {
		return nil
	}
	list, err := s.engine.processes(ctx, info.ID)
	if err != nil {
		return s.fault(ctx, of, err)
	}
	for _, p := range list {
		of.Part, of.Body = "arguments of process "+p.pid, strings.NewReader(p.args)
		if err := s.visit(of); err != nil {
			return err
		}
	}
	return nil
}

// process is one process of a container, in the numbers of the engine's machine.
type process struct{ pid, parent, user, args string }

// processes lists what runs in a container, execs included.
func (e *Engine) processes(ctx context.Context, id string) ([]process, error) {
	ctx, cancel := briefly(ctx)
	defer cancel()
	top, err := e.docker.ContainerTop(ctx, id, []string{"-eo", "pid,ppid,uid,args"})
	if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) && !lost(err) { // a ps of another kind
		top, err = e.docker.ContainerTop(ctx, id, nil)
	}
	if err != nil {
		return nil, err
	}
	column := func(row []string, names ...string) string {
		for i, title := range top.Titles {
			if slices.Contains(names, title) && i < len(row) {
				return row[i]
			}
		}
		return ""
	}
	var list []process
	for _, row := range top.Processes {
		list = append(list, process{pid: column(row, "PID"), parent: column(row, "PPID"), user: column(row, "UID", "USER"), args: column(row, "COMMAND", "CMD", "ARGS")})
	}
	return list, nil
}

func (s *survey) images(ctx context.Context) error {
	brief, cancel := briefly(ctx)
	list, err := s.engine.docker.ImageList(brief, image.ListOptions{})
	cancel()
	if err != nil {
		return wrap(err, "list the images")
	}
	for _, i := range list {
		name := shortID(strings.TrimPrefix(i.ID, "sha256:"))
		if len(i.RepoTags) > 0 && i.RepoTags[0] != "<none>:<none>" {
			name = i.RepoTags[0]
		}
		of := Exhibit{Kind: "inspect", Object: "image " + name}
		err := s.inspect(ctx, of, func(ctx context.Context) ([]byte, error) {
			var raw bytes.Buffer
			_, err := s.engine.docker.ImageInspect(ctx, i.ID, client.ImageInspectWithRawResponse(&raw))
			return raw.Bytes(), err
		})
		if err == nil {
			err = s.history(ctx, i.ID, of)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// history shows the commands that made an image: build arguments stand in them.
func (s *survey) history(ctx context.Context, id string, of Exhibit) error {
	of.Kind = "image-history"
	brief, cancel := briefly(ctx)
	defer cancel()
	list, err := s.engine.docker.ImageHistory(brief, id)
	if err != nil {
		return s.fault(ctx, of, err)
	}
	for n, step := range list {
		for _, field := range [][2]string{{"created_by", step.CreatedBy}, {"comment", step.Comment}} {
			of.Part, of.Body = fmt.Sprintf("history[%d].%s", n, field[0]), strings.NewReader(field[1])
			if err := s.visit(of); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *survey) networks(ctx context.Context) error {
	brief, cancel := briefly(ctx)
	list, err := s.engine.docker.NetworkList(brief, network.ListOptions{})
	cancel()
	if err != nil {
		return wrap(err, "list the networks")
	}
	for _, n := range list {
		of := Exhibit{Kind: "inspect", Object: "network " + n.Name, Project: n.Labels[api.ProjectLabel]}
		err := s.inspect(ctx, of, func(ctx context.Context) ([]byte, error) {
			_, raw, err := s.engine.docker.NetworkInspectWithRaw(ctx, n.ID, network.InspectOptions{})
			return raw, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// volumes shows what volumes are called and how they were made, and says whose files nobody read.
func (s *survey) volumes(ctx context.Context) error {
	unread := 0
	for _, v := range s.listed {
		of := Exhibit{Kind: "inspect", Object: "volume " + v.Name, Project: v.Labels[api.ProjectLabel]}
		err := s.inspect(ctx, of, func(ctx context.Context) ([]byte, error) {
			_, raw, err := s.engine.docker.VolumeInspectWithRaw(ctx, v.Name)
			return raw, err
		})
		if err != nil {
			return err
		}
		if !s.memory[v.Name] && !s.read[v.Name] {
			unread++
		}
	}
	if unread == 0 {
		return nil
	}
	return s.visit(Exhibit{Kind: "volume", Object: "volumes that no container mounts",
		Err: fmt.Errorf("the engine shows the files of a volume through a container only: %d not searched", unread)})
}

// ownProcesses are those that descend from a container's first process.
func ownProcesses(list []process, first int) []process {
	own := map[string]bool{strconv.Itoa(first): true}
	for more := true; more; {
		more = false
		for _, p := range list {
			if own[p.parent] && !own[p.pid] {
				own[p.pid], more = true, true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(p process) bool { return !own[p.pid] })
}
