package takeover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"minibot/hint"
	"minibot/secrets"
	"minibot/stack"
)

// The kinds of services whose data can be adopted: the drivers of their secrets.
const (
	postgres = "postgres"
	redis    = "redis"
	openclaw = "openclaw"
)

// Role is a service of the stack whose data can be adopted.
type Role struct {
	Service, Kind  string
	User, Database string // of Postgres
}

// Roles are the services of a project whose data can be adopted, as the drivers of its secrets tell, ordered by service.
func Roles(p *stack.Project) []Role {
	if p == nil {
		return nil
	}
	var roles []Role
	for _, r := range p.Requirements {
		kind := r.Rotate.Driver
		if kind != postgres && kind != redis && kind != openclaw {
			continue
		}
		if !slices.ContainsFunc(roles, func(known Role) bool { return known.Service == r.Rotate.Service }) {
			roles = append(roles, Role{Service: r.Rotate.Service, Kind: kind, User: r.Rotate.User, Database: r.Rotate.Database})
		}
	}
	slices.SortFunc(roles, func(a, b Role) int { return strings.Compare(a.Service, b.Service) })
	return roles
}

// predecessor finds the container whose place a service takes: by its name, else by the name that scripts gave it, else, among
// those that have to do with minibot, by a port, or by a folder of minibot's home that it has as its data.
func predecessor(s Surroundings, role Role) *stack.Resident {
	byName := func(name string) func(stack.Resident) bool {
		return func(r stack.Resident) bool { return r.Name == name }
	}
	ports := s.Project.Published(role.Service)
	for _, is := range []func(stack.Resident) bool{
		byName(s.Project.Services[role.Service].Container), byName("minibot-" + role.Kind),
		func(r stack.Resident) bool {
			return related(s, r) && slices.ContainsFunc(r.Ports, func(port string) bool { return slices.Contains(ports, port) })
		},
		func(r stack.Resident) bool {
			return slices.ContainsFunc(r.Mounts, func(m stack.Mount) bool { return s.keeps(role.Kind, m) })
		},
	} {
		for _, r := range s.Residents {
			if !r.Made && is(r) {
				return &r
			}
		}
	}
	return nil
}

// keeps reports whether a mount is of a folder below minibot's home in which a database, or OpenClaw, has its data.
func (s Surroundings) keeps(kind string, m stack.Mount) bool {
	is := map[string]bool{
		postgres: m.Target == path.Dir(postgresData) || strings.HasPrefix(m.Target+"/", postgresData+"/"),
		openclaw: path.Base(m.Target) == path.Base(openclawData),
	}
	return m.Bind && s.inHome(m.Source) && is[kind]
}

// inHome reports whether a path is that of minibot's home, or below it.
func (s Surroundings) inHome(path string) bool {
	return slices.ContainsFunc(s.homes(), func(home string) bool { return path == home || strings.HasPrefix(path, home+"/") })
}

// related reports whether a container has to do with minibot: by its name, its project's, or a folder that is below minibot's home.
func related(s Surroundings, r stack.Resident) bool {
	return strings.Contains(strings.ToLower(r.Name+" "+r.Project), "minibot") || s.inHome(r.Directory) ||
		slices.ContainsFunc(r.Mounts, func(m stack.Mount) bool { return m.Bind && s.inHome(m.Source) })
}

// containers finds those in whose place minibot's own will be, and what else is in their way.
func containers(s Surroundings) Findings {
	if s.Project == nil {
		return nil
	}
	var found Findings
	taken := map[string]bool{}
	for _, r := range s.Residents {
		if r.Unseen != nil {
			taken[r.ID] = true
			found = append(found, Finding{Kind: KindUnread, Place: "container " + r.Name, What: fmt.Sprintf("the engine does not show it: %v", r.Unseen),
				Advice: "see what `docker inspect " + hint.Word(r.Name) + "` says; `docker rm` it if it is of no use, or start the engine anew"})
		}
	}
	for _, role := range Roles(s.Project) {
		r := predecessor(s, role)
		if r == nil || taken[r.ID] {
			continue
		}
		taken[r.ID] = true
		found = append(found, Finding{Kind: KindContainer, Place: "container " + r.Name, Container: r, Secrets: secretsIn(r.Variables, s.Required),
			What:   fmt.Sprintf("it is the %s of %s, %s", role.Kind, projectOf(*r), stateOf(*r)),
			Will:   fmt.Sprintf("stop it, copy its data into service %s, keep it and its data", role.Service),
			Advice: "`minibotd adopt --dry-run` shows the steps"})
	}
	for service := range s.Project.Services {
		name, ports := s.Project.Services[service].Container, s.Project.Published(service)
		for _, r := range s.Residents {
			inTheWay := r.Name == name || slices.ContainsFunc(r.Ports, func(port string) bool { return slices.Contains(ports, port) })
			if r.Made || taken[r.ID] || !inTheWay {
				continue
			}
			taken[r.ID] = true
			found = append(found, Finding{Kind: KindContainer, Place: "container " + r.Name, Container: &r, Secrets: secretsIn(r.Variables, s.Required),
				What:   fmt.Sprintf("it has the name or a port of service %s, and is of %s, %s", service, projectOf(r), stateOf(r)),
				Advice: "`docker rename` it, or give one of the two another port: minibot does not touch it"})
		}
	}
	slices.SortFunc(found, func(a, b Finding) int { return strings.Compare(a.Place, b.Place) })
	return found
}

func projectOf(r stack.Resident) string {
	if r.Project == "" {
		return "no compose project"
	}
	return "compose project " + r.Project
}

func stateOf(r stack.Resident) string {
	if r.Running {
		return "running"
	}
	return "stopped"
}

func secretsIn(variables []string, required []secrets.Name) []secrets.Name {
	var names []secrets.Name
	for _, v := range variables {
		if isSecret(v, required) {
			names = append(names, secrets.Name(v))
		}
	}
	return names
}

// dataFolders finds Postgres' data below minibot's home, four folders deep.
func dataFolders(s Surroundings) Findings {
	var found Findings
	folders(s.Home, 4, func(path string, _ []fs.DirEntry, err error) bool {
		if errors.Is(err, fs.ErrPermission) { // a database's folder is its server's own
			closed := unread(path, "it cannot be looked into; it may hold data")
			closed.Folder = path
			found = append(found, closed)
		}
		major, err := head(filepath.Join(path, "PG_VERSION"))
		if err != nil { // no database
			return true
		}
		found = append(found, Finding{Kind: KindData, Place: path, Folder: path, What: "data of Postgres " + strings.TrimSpace(string(major[:min(len(major), 8)])),
			Will: "copy them into minibot's own volume, and leave these as they are"})
		return false
	})
	return found
}

// folders visits a folder and what lies so many folders deep in it, each once; what vanishes meanwhile is left out. Behind a link, which may
// lead anywhere, it goes one folder deep. visit gets what is in a folder, or why that is not known, and tells whether to go on below it.
func folders(root string, deep int, visit func(path string, entries []fs.DirEntry, err error) bool) {
	seen := map[string]bool{}
	var walk func(path string, deep int)
	walk = func(path string, deep int) {
		target, err := filepath.EvalSymlinks(path)
		if err != nil || seen[target] {
			return
		}
		seen[target] = true
		entries, err := os.ReadDir(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || !visit(path, entries, err) || deep == 0 {
			return
		}
		for _, e := range entries {
			switch {
			case e.Name() == ".git" || e.Name() == "node_modules":
			case e.IsDir():
				walk(filepath.Join(path, e.Name()), deep-1)
			case e.Type() == fs.ModeSymlink:
				walk(filepath.Join(path, e.Name()), min(deep-1, 1))
			}
		}
	}
	walk(root, deep)
}
