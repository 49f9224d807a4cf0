package stack

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/container"
)

// configsLabel makes a container diverge when the content of its configs does; Compose alone would not notice.
const configsLabel = "com.minibot.configs"

// configFile is a config whose content is in the compose file. Compose places those when it starts a container, which
// is not its business here; configs from files are mounts and remain Compose's.
type configFile struct {
	target   string
	uid, gid int
	mode     int64
	content  string
}

// configFiles lists what has to be placed into a service's container.
func configFiles(p *types.Project, service types.ServiceConfig) ([]configFile, error) {
	var files []configFile
	for i, reference := range service.Configs {
		if err := checkConfigTarget(cmp.Or(reference.Target, "/"+reference.Source)); err != nil {
			return nil, &fault{path: []string{"services", service.Name, "configs", strconv.Itoa(i)}, err: err}
		}
		source := p.Configs[reference.Source]
		content := source.Content
		if content == "" && source.Environment != "" {
			content = p.Environment[source.Environment]
		}
		if content == "" {
			continue
		}
		at := []string{"services", service.Name, "configs", strconv.Itoa(i)}
		if service.ReadOnly {
			return nil, faultf(at, "a config with inline content cannot be placed into a read-only service")
		}
		f := configFile{target: reference.Target, mode: 0o444, content: content}
		if f.target == "" {
			f.target = "/" + reference.Source
		}
		if reference.Mode != nil {
			f.mode = int64(*reference.Mode)
		}
		var errs [2]error
		f.uid, errs[0] = number("uid", reference.UID)
		f.gid, errs[1] = number("gid", reference.GID)
		if err := errors.Join(errs[:]...); err != nil {
			return nil, &fault{path: at, err: err}
		}
		files = append(files, f)
	}
	return files, nil
}

// checkConfigTarget refuses a path that is another one than it looks like.
func checkConfigTarget(target string) error {
	if clean := path.Join("/", target); clean != "/"+strings.TrimPrefix(target, "/") || clean == "/" || printable(target) != target {
		return fmt.Errorf("target %q is not a plain path of a file", abridged(target, maxPath))
	}
	return nil
}

// labelConfigs notes the content of a service's configs in its definition.
func labelConfigs(p *types.Project, service types.ServiceConfig) (types.ServiceConfig, error) {
	files, err := configFiles(p, service)
	if err != nil || len(files) == 0 {
		return service, err
	}
	sum := sha256.New()
	for _, f := range files {
		_, _ = fmt.Fprintf(sum, "%q %d %d %o %q\n", f.target, f.uid, f.gid, f.mode, f.content) // a hash never fails
	}
	service.Labels = maps.Clone(service.Labels)
	service.Labels = service.Labels.Add(configsLabel, hex.EncodeToString(sum.Sum(nil)[:16]))
	return service, nil
}

// placeConfigs copies the configs into every container that was never started. A container keeps them as long as it
// lives; killed before this was done, it is still new to the next Create.
func (e *Engine) placeConfigs(ctx context.Context, p *Project) error {
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		files, err := configFiles(p.rewritten, p.rewritten.Services[name])
		if err != nil {
			return err
		}
		if len(files) == 0 {
			continue
		}
		c, err := e.Container(ctx, p, name)
		if err != nil {
			return err
		}
		if c.Status != container.StateCreated {
			continue
		}
		archive, err := configArchive(files)
		if err == nil {
			err = e.docker.CopyToContainer(ctx, c.ID, "/", archive, container.CopyToContainerOptions{})
		}
		if err != nil {
			return wrapContainer(err, "place the configs into container %s", c.Name)
		}
	}
	return nil
}

func configArchive(files []configFile) (*bytes.Buffer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range files {
		header := &tar.Header{Name: strings.TrimPrefix(f.target, "/"), Mode: f.mode, Uid: f.uid, Gid: f.gid, Size: int64(len(f.content)), ModTime: time.Now()}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			return nil, err
		}
	}
	return &archive, w.Close()
}
