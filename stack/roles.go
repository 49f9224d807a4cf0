package stack

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"minibot/secrets"
)

const (
	userSuffix       = "_USER" // of the secret that holds the name of the role
	userFileSuffix   = ".user"
	serviceSuffix    = ".pgservice"
	connectionName   = "minibot" // of the service in a connection service file
	connectionPort   = 5432
	defaultSuperuser = "postgres"
)

// Connection makes a file a connection service file of libpq, so that a client takes the pair of a password and its user
// in one read: two files are never replaced in the same instant.
type Connection struct {
	User           secrets.Name // whose value is the user
	Host, Database string
}

// rolePattern is what a role's name may be. It goes into files whose readers know no quoting.
var rolePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,62}$`)

// readRoles reads what makes two roles take turns.
func readRoles(at []string, secret secrets.Name, r *secrets.Rotation, roles []string, owner string) error {
	if roles == nil && owner == "" {
		return nil
	}
	switch {
	case r.Driver != "postgres":
		return faultf(append(at, "roles"), "go with driver: postgres only")
	case len(roles) != 2 || roles[0] == roles[1]:
		return faultf(append(at, "roles"), "want exactly two, which take turns")
	case owner == "":
		return &fault{path: append(at, "roles"), err: errors.New("need an owner"), hint: "name the role that is to own what they make as `owner: NAME`"}
	case strings.TrimSpace(r.Database) != r.Database || strings.ContainsAny(r.Database, "\r\n"):
		return faultf(append(at, "database"), "%q does not go into a connection service file", r.Database)
	}
	taken := []string{cmp.Or(r.User, defaultSuperuser)}
	for _, role := range []struct{ key, name string }{{"owner", owner}, {"roles", roles[0]}, {"roles", roles[1]}} {
		switch {
		case !rolePattern.MatchString(role.name), strings.HasPrefix(role.name, "pg_"), strings.HasPrefix(role.name, "minibot_rehearsal_"),
			role.name == "public", role.name == "none":
			return faultf(append(at, role.key), "%q cannot be a role's name here: want a letter or _, then up to 62 of A-Z, a-z, 0-9, _ and -; some names are Postgres' or minibot's own", role.name)
		case slices.Contains(taken, role.name):
			return faultf(append(at, role.key), "%q is the user, the owner or the other role already", role.name)
		}
		taken = append(taken, role.name)
	}
	user, err := secrets.ParseName(string(secret) + userSuffix)
	if err != nil {
		return &fault{path: append(at, "roles"), err: err, hint: "the role's name is a secret of its own, called as this one with " + userSuffix + " behind; choose a shorter name"}
	}
	r.Roles, r.Owner, r.UserName = roles, owner, user
	return nil
}

// addUserNames adds the secrets that hold which of two roles is used. declared are the keys below `secrets:`.
func (p *Project) addUserNames(declared map[secrets.Name]string) error {
	for _, r := range slices.Clone(p.Requirements) {
		user := r.Rotate.UserName
		if user == "" {
			continue
		}
		if key, there := declared[user]; there {
			return faultf([]string{"secrets", key, "environment"}, "%s is the name of the role that logs in with %s already", user, r.Name)
		}
		p.Requirements = append(p.Requirements, secrets.Requirement{Name: user, Description: "the role that logs in with " + string(r.Name), Initial: r.Rotate.Roles[0]})
	}
	return nil
}

// companions are the files that lie beside a password's, for its readers to know the role.
func (p *Project) companions(f File) []File {
	i := slices.IndexFunc(p.Requirements, func(r secrets.Requirement) bool { return r.Name == f.Secret })
	rotate := p.Requirements[i].Rotate
	if rotate.UserName == "" {
		return nil
	}
	user, pair := f, f
	user.Name, user.Secret = f.Name+userFileSuffix, rotate.UserName
	pair.Name = f.Name + serviceSuffix
	pair.Connection = &Connection{User: rotate.UserName, Host: rotate.Service, Database: cmp.Or(rotate.Database, rotate.User, defaultSuperuser)}
	return []File{user, pair}
}

// secrets are those whose values the file holds.
func (f File) secrets() []secrets.Name {
	if f.Connection != nil {
		return []secrets.Name{f.Secret, f.Connection.User}
	}
	return []secrets.Name{f.Secret}
}

// content is what the file holds; the caller clears it.
func (f File) content(values map[secrets.Name]secrets.Value) []byte {
	value := values[f.Secret].Reveal()
	c := f.Connection
	if c == nil {
		return value
	}
	defer clear(value)
	head := fmt.Sprintf("[%s]\nhost=%s\nport=%d\ndbname=%s\nuser=%s\npassword=", connectionName, c.Host, connectionPort, c.Database, values[c.User].Reveal())
	content := make([]byte, 0, len(head)+len(value)+1) // so that no copy of the value is left behind
	return append(append(append(content, head...), value...), '\n')
}

// check reports whether the file can hold its secrets' values.
func (f File) check(values map[secrets.Name]secrets.Value) error {
	if f.Connection == nil {
		return nil
	}
	for _, name := range f.secrets() {
		value := values[name].Reveal()
		broken := slices.ContainsFunc(value, func(b byte) bool { return b == '\n' || b == '\r' })
		clear(value)
		if broken {
			return fmt.Errorf("file %s: %s holds a line break", f.Name, name)
		}
	}
	return nil
}
