package stack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"minibot/hint"
)

// maxSmall bounds what ReadSmall reads, in bytes.
const maxSmall = 64 << 10

// HasPath reports whether a container, running or not, has something at an absolute path, what is mounted there included.
func (e *Engine) HasPath(ctx context.Context, id, at string) (bool, error) {
	brief, cancel := briefly(ctx)
	defer cancel()
	_, err := e.docker.ContainerStatPath(brief, id, at)
	if cerrdefs.IsNotFound(err) && !strings.Contains(err.Error(), "No such container") {
		return false, nil
	}
	return err == nil, wrapContainer(err, "look into container %s", shortID(id))
}

// ReadSmall reads a regular file of a container, running or not, up to 64 KiB.
func (e *Engine) ReadSmall(ctx context.Context, id, file string) ([]byte, error) {
	brief, cancel := briefly(ctx)
	defer cancel()
	body, _, err := e.docker.CopyFromContainer(brief, id, file)
	if err != nil {
		return nil, wrapContainer(err, "read %s of container %s", file, shortID(id))
	}
	defer func() { _ = body.Close() }() // read as far as is wanted
	archive := tar.NewReader(body)
	header, err := archive.Next()
	if err != nil {
		return nil, wrap(err, "read %s of container %s", file, shortID(id))
	}
	if header.Typeflag != tar.TypeReg || header.Size > maxSmall {
		return nil, fmt.Errorf("read %s of container %s: it is no small file", file, shortID(id))
	}
	data, err := io.ReadAll(archive)
	return data, wrap(err, "read %s of container %s", file, shortID(id))
}

// Tree is a folder of a container, running or not, with what is mounted in it, as a tar stream whose names begin with the folder's own. It breaks off
// with an error where the engine is silent for 30 s. The caller closes it.
func (e *Engine) Tree(ctx context.Context, id, folder string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	body, _, err := e.docker.CopyFromContainer(ctx, id, folder)
	if err != nil {
		cancel()
		return nil, wrapContainer(err, "read %s of container %s", folder, shortID(id))
	}
	return &tree{stream: &stream{from: body, cancel: cancel, idle: streamIdle, left: -1}, body: body}, nil
}

// tree tells a stream's failure from its end.
type tree struct {
	*stream
	body io.Closer
}

func (t *tree) Read(p []byte) (int, error) {
	n, err := t.stream.Read(p)
	if err != nil && t.err != nil && !errors.Is(t.err, io.EOF) {
		err = wrap(t.err, "read from the engine")
	}
	return n, err
}

func (t *tree) Close() error {
	t.cancel()
	return t.body.Close()
}

// Plant unpacks a tar stream into a folder of a container that does not run; owners and modes stay as they are in the
// stream. It fails when the stream does, and can leave a part of it behind: see [Engine.DiscardUnstarted].
func (e *Engine) Plant(ctx context.Context, id, folder string, archive io.Reader) error {
	err := e.docker.CopyToContainer(ctx, id, folder, archive, container.CopyToContainerOptions{})
	return wrapContainer(err, "write into %s of container %s", folder, shortID(id))
}

// ErrStarted says that a container was started, so that its data may be somebody's.
var ErrStarted = errors.New("it was started already")

// DiscardUnstarted removes a container that [Engine.Create] made and nobody ever started, and the named volume at the mount point
// target in it. A container that was started is ErrStarted; nothing is removed then. One that is not there is no error.
func (e *Engine) DiscardUnstarted(ctx context.Context, p *Project, service, target string) error {
	r, err := e.Resident(ctx, p.container(service))
	if errors.Is(err, ErrNoContainer) {
		return nil
	}
	if err != nil {
		return err
	}
	if !r.Made || r.Project != p.Name || !r.StartedAt.IsZero() {
		return fmt.Errorf("discard what is in container %s: %w", r.Name, ErrStarted)
	}
	if err := e.Remove(ctx, r.ID); err != nil {
		return err
	}
	brief, cancel := briefly(ctx)
	defer cancel()
	for _, m := range r.Mounts {
		if m.Target == target && !m.Bind && !m.Memory {
			return wrap(e.docker.VolumeRemove(brief, m.Source, false), "remove volume %s", m.Source)
		}
	}
	return nil
}

// windowLabel is on containers that exist only to look at a folder of the engine's machine, and never run.
const windowLabel = "com.minibot.window"

// windowFolder is where such a container has it.
const windowFolder = "/old"

// Window makes a container through which a folder of the engine's machine can be read: at the returned path, read-only. It never
// runs. On a Mac the engine sees shared folders only. shut removes it again.
func (e *Engine) Window(ctx context.Context, image, folder string) (id, at string, shut func(context.Context) error, err error) {
	brief, cancel := briefly(ctx)
	defer cancel()
	made, err := e.docker.ContainerCreate(brief, &container.Config{Image: image, Labels: map[string]string{windowLabel: "1"}, Entrypoint: []string{"/never"}},
		&container.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{{Type: mount.TypeBind, Source: folder, Target: windowFolder, ReadOnly: true}}}, nil, nil, "")
	if err != nil {
		return "", "", nil, hint.Wrap(wrap(err, "show the folder to the engine"), "see that the engine may read %s", folder)
	}
	shut = func(ctx context.Context) error {
		brief, cancel := briefly(ctx)
		defer cancel()
		err := e.docker.ContainerRemove(brief, made.ID, container.RemoveOptions{RemoveVolumes: true})
		return wrap(err, "remove container %s", shortID(made.ID))
	}
	return made.ID, windowFolder, shut, nil
}

// DataMount is the mount point of the one volume on disk that covers a path of a service's container, and the rest of the path below it.
func (r Resident) DataMount(at string) (target, below string, ok bool) {
	for _, m := range r.Mounts {
		if m.Memory || len(m.Target) < len(target) {
			continue
		}
		if rest, found := strings.CutPrefix(path.Clean(at)+"/", strings.TrimSuffix(m.Target, "/")+"/"); found {
			target, below, ok = m.Target, strings.TrimSuffix(rest, "/"), true
		}
	}
	return target, below, ok
}
