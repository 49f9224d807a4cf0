package stack

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/pkg/stdcopy"
)

// stream is an answer of the engine while somebody reads it. A failure ends it, as the end does, and stays in err; so does
// silence for longer than streamIdle.
type stream struct {
	from   io.Reader
	cancel context.CancelFunc // ends the request
	idle   time.Duration
	left   int64 // bytes that may still be read; negative is no bound
	cut    bool  // there was more
	err    error
}

func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil || s.cut {
		return 0, io.EOF
	}
	if s.left == 0 {
		s.cut = true
		return 0, io.EOF
	}
	if s.left > 0 {
		p = p[:min(int64(len(p)), s.left)]
	}
	watch := time.AfterFunc(s.idle, func() { s.cancel() })
	n, err := s.from.Read(p)
	late := !watch.Stop()
	if s.left > 0 {
		s.left -= int64(n)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
		if late {
			s.err = fmt.Errorf("the engine sent nothing for %v", s.idle)
		}
		return n, io.EOF
	}
	return n, err
}

// logs shows what a container wrote, each stream by itself: a line of the one may stand in the middle of a line of the other.
func (s *survey) logs(ctx context.Context, info container.InspectResponse, of Exhibit) error {
	of.Kind = "log"
	if info.HostConfig != nil && info.HostConfig.LogConfig.Type == "none" { // nothing is kept
		return nil
	}
	streams := []container.LogsOptions{{ShowStdout: true}, {ShowStderr: true}}
	names := []string{"stdout", "stderr"}
	if info.Config.Tty { // one stream, without frames
		streams, names = []container.LogsOptions{{ShowStdout: true, ShowStderr: true}}, []string{"terminal"}
	}
	for i, options := range streams {
		of.Part = names[i]
		if err := s.log(ctx, info, of, options); err != nil {
			return err
		}
	}
	return nil
}

func (s *survey) log(ctx context.Context, info container.InspectResponse, of Exhibit, options container.LogsOptions) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := s.engine.docker.ContainerLogs(reading, info.ID, options)
	if err != nil {
		return s.fault(ctx, of, err)
	}
	source := &stream{from: body, cancel: cancel, idle: streamIdle, left: -1}
	of.Body = source
	finish := func() {}
	if !info.Config.Tty {
		out, in := io.Pipe()
		done := make(chan struct{})
		go func() { // ends with the stream, or when the visitor has left
			defer close(done)
			_, err := stdcopy.StdCopy(in, in, source)
			_ = in.CloseWithError(nil) // it cannot fail; the reader sees the end
			if err != nil && source.err == nil && !errors.Is(err, io.ErrClosedPipe) {
				source.err = err
			}
		}()
		of.Body = out
		finish = func() { _ = out.Close(); cancel(); <-done }
	}
	err = s.visit(of)
	finish()
	if closed := body.Close(); err == nil && source.err == nil {
		source.err = closed
	}
	if err == nil && source.err != nil {
		err = s.fault(ctx, of, source.err)
	}
	return err
}

// mountPoint is where something else than the container's own files begins.
type mountPoint struct {
	path string
	// inside says that the engine shows what is mounted there as if it were the container's. Of a tmpfs it shows what lies
	// beneath, which is on disk.
	inside bool
}

// under reports whether a path is a folder or lies in it.
func under(file, folder string) bool {
	return file == folder || strings.HasPrefix(file, strings.TrimSuffix(folder, "/")+"/")
}

func mountPoints(info container.InspectResponse) []mountPoint {
	var list []mountPoint
	for _, m := range info.Mounts {
		list = append(list, mountPoint{path.Clean(m.Destination), m.Type != mount.TypeTmpfs})
	}
	if info.HostConfig != nil {
		for folder := range info.HostConfig.Tmpfs {
			list = append(list, mountPoint{path.Clean(folder), false})
		}
	}
	return list
}

// picked is what is copied at once: one file, or a new folder with all that is in it.
type picked struct {
	path  string
	whole bool
}

// pick chooses what to copy so that each file that differs from the image is read once, and nothing that is mounted.
func pick(changes []container.FilesystemChange, mounts []mountPoint) []picked {
	key := func(c container.FilesystemChange) string { return strings.ReplaceAll(c.Path, "/", "\x00") } // a folder before all that is in it
	changes = slices.SortedFunc(slices.Values(changes), func(a, b container.FilesystemChange) int { return cmp.Compare(key(a), key(b)) })
	var list []picked
	for i, c := range changes {
		covered := len(list) > 0 && list[len(list)-1].whole && under(c.Path, list[len(list)-1].path)
		mounted := slices.ContainsFunc(mounts, func(m mountPoint) bool { return m.inside && under(c.Path, m.path) })
		if c.Kind == container.ChangeDelete || covered || mounted {
			continue
		}
		above := slices.ContainsFunc(mounts, func(m mountPoint) bool { return under(m.path, c.Path) })
		if c.Kind == container.ChangeAdd && !above {
			list = append(list, picked{c.Path, true})
		} else if i+1 == len(changes) || !under(changes[i+1].Path, c.Path) { // otherwise a folder: what changed in it follows
			list = append(list, picked{c.Path, false})
		}
	}
	return list
}

// layer shows the files of a container that are not, or not so, in its image.
func (s *survey) layer(ctx context.Context, info container.InspectResponse, of Exhibit) error {
	of.Kind = "layer"
	brief, cancel := briefly(ctx)
	changes, err := s.engine.docker.ContainerDiff(brief, info.ID)
	cancel()
	if err != nil {
		return s.fault(ctx, of, err)
	}
	mounts := mountPoints(info)
	list := pick(changes, mounts)
	if len(list) >= s.exportFrom {
		return s.export(ctx, info.ID, list, of)
	}
	for _, p := range list {
		err := s.copy(ctx, info.ID, p.path, -1, of, func(stat container.PathStat) bool { return p.whole || !stat.Mode.IsDir() },
			func(file string) (string, bool) {
				return file, !slices.ContainsFunc(mounts, func(m mountPoint) bool { return m.inside && under(file, m.path) })
			})
		if err != nil {
			return err
		}
	}
	return nil
}

// export reads a whole container, without what is mounted, and shows what was picked of it.
func (s *survey) export(ctx context.Context, id string, list []picked, of Exhibit) error {
	single, whole := map[string]bool{}, map[string]bool{}
	for _, p := range list {
		single[p.path], whole[p.path] = true, p.whole
	}
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := s.engine.docker.ContainerExport(reading, id)
	if err != nil {
		return s.fault(ctx, of, err)
	}
	return s.archive(ctx, body, cancel, -1, of, func(name string) (string, bool) {
		file := path.Join("/", name)
		if single[file] {
			return file, true
		}
		for folder := path.Dir(file); folder != "/"; folder = path.Dir(folder) {
			if whole[folder] {
				return file, true
			}
		}
		return file, false
	})
}

// mounts shows the files of the volumes that a container mounts and that no other container has shown.
func (s *survey) mounts(ctx context.Context, info container.InspectResponse, of Exhibit) error {
	of.Kind = "volume"
	all := mountPoints(info)
	for _, m := range info.Mounts {
		if m.Type != mount.TypeVolume || s.memory[m.Name] || s.read[m.Name] {
			continue
		}
		of.Object = "volume " + m.Name
		root := path.Clean(m.Destination)
		err := s.copy(ctx, info.ID, root, s.limit, of, func(container.PathStat) bool { s.read[m.Name] = true; return true },
			func(file string) (string, bool) {
				other := slices.ContainsFunc(all, func(o mountPoint) bool { return o.path != root && under(o.path, root) && under(file, o.path) })
				return strings.TrimPrefix(file, strings.TrimSuffix(root, "/")), !other
			})
		if err != nil {
			return err
		}
	}
	return nil
}

// copy shows the files at a path of a container, up to limit bytes, once wanted has seen what is there. show says for
// each file whether it is shown, and under which name.
func (s *survey) copy(ctx context.Context, id, from string, limit int64, of Exhibit, wanted func(container.PathStat) bool,
	show func(file string) (name string, shown bool),
) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	body, stat, err := s.engine.docker.CopyFromContainer(reading, id, from)
	if err != nil {
		of.Part = from
		return s.fault(ctx, of, err)
	}
	if !wanted(stat) {
		cancel()
		_ = body.Close() // it was not read
		return nil
	}
	parent := path.Dir(from)
	return s.archive(ctx, body, cancel, limit, of, func(name string) (string, bool) { return show(path.Join(parent, name)) })
}

// archive shows the files of a tar stream, and closes it. A file's name stands before its content.
func (s *survey) archive(ctx context.Context, body io.ReadCloser, cancel context.CancelFunc, limit int64, of Exhibit,
	show func(name string) (string, bool),
) error {
	source := &stream{from: body, cancel: cancel, idle: streamIdle, left: limit}
	defer func() {
		cancel()
		_ = body.Close() // what matters of it is in source.err
	}()
	files := tar.NewReader(source)
	for {
		header, err := files.Next()
		if source.err != nil || source.cut || err != nil {
			if source.cut {
				err = fmt.Errorf("only its first %d MiB were searched", limit>>20)
			}
			if err = cmp.Or(source.err, err); errors.Is(err, io.EOF) {
				return nil
			}
			of.Part = ""
			return s.fault(ctx, of, err)
		}
		name, shown := show(header.Name)
		if !shown {
			continue
		}
		of.Part = name
		of.Body = io.MultiReader(strings.NewReader(name+"\n"+header.Linkname), &untilError{from: files})
		if err := s.visit(of); err != nil {
			return err
		}
	}
}

// untilError ends where reading fails: the archive's next step says why.
type untilError struct{ from io.Reader }

func (l *untilError) Read(p []byte) (int, error) {
	n, err := l.from.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}
