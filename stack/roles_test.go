package stack

import (
	"reflect"
	"strings"
	"testing"

	"minibot/secrets"
)

const rolesCompose = `
name: roles
services:
  db: { image: db:1, secrets: [DB_PASSWORD] }
  web:
    image: web:1
    secrets:
      - { source: app, target: db, uid: "1000", gid: "1001", mode: 0400 }
      - { source: app, target: again }
  other: { image: other:1 }
secrets:
  DB_PASSWORD: { environment: DB_PASSWORD, x-minibot: { rotate: { driver: postgres, service: db, user: admin, database: main } } }
  app:
    environment: APP_PASSWORD
    x-minibot:
      max_age: 90d
      rotate: { driver: postgres, service: db, user: admin, database: main, roles: [app_a, App-b], owner: app }
`

func TestLoadRoles(t *testing.T) {
	p := load(t, rolesCompose)
	pair := &Connection{User: "APP_PASSWORD_USER", Host: "db", Database: "main"}
	want := []File{
		{Secret: "APP_PASSWORD", Name: "again", Mode: 0o444},
		{Secret: "APP_PASSWORD", Name: "again.pgservice", Mode: 0o444, Connection: pair},
		{Secret: "APP_PASSWORD_USER", Name: "again.user", Mode: 0o444},
		{Secret: "APP_PASSWORD", Name: "db", UID: 1000, GID: 1001, Mode: 0o400},
		{Secret: "APP_PASSWORD", Name: "db.pgservice", UID: 1000, GID: 1001, Mode: 0o400, Connection: pair},
		{Secret: "APP_PASSWORD_USER", Name: "db.user", UID: 1000, GID: 1001, Mode: 0o400},
	}
	if got := p.Services["web"].Files; !reflect.DeepEqual(got, want) {
		t.Errorf("files:\n got %+v\nwant %+v", got, want)
	}
	if got := p.Services["web"].Secrets; !reflect.DeepEqual(got, []secrets.Name{"APP_PASSWORD", "APP_PASSWORD_USER"}) {
		t.Errorf("secrets: %v", got)
	}
	if got := p.Services["db"].Files; len(got) != 1 {
		t.Errorf("a single role's files: %+v", got)
	}
	if len(p.Requirements) != 3 {
		t.Fatalf("requirements: %+v", p.Requirements)
	}
	rotation := secrets.Rotation{Driver: "postgres", Service: "db", User: "admin", Database: "main",
		Roles: []string{"app_a", "App-b"}, Owner: "app", UserName: "APP_PASSWORD_USER"}
	if got := p.Requirements[0]; !reflect.DeepEqual(got.Rotate, rotation) {
		t.Errorf("rotation: %+v", got.Rotate)
	}
	user := secrets.Requirement{Name: "APP_PASSWORD_USER", Description: "the role that logs in with APP_PASSWORD", UsedBy: []string{"web"}, Initial: "app_a"}
	if got := p.Requirements[1]; !reflect.DeepEqual(got, user) {
		t.Errorf("the role's name: %+v", got)
	}

	for text, database := range map[string]string{"database: main, roles": "admin", "user: admin, database: main, roles": "postgres"} {
		p := load(t, strings.Replace(rolesCompose, text, "roles", 1))
		if got := p.Services["web"].Files[1].Connection.Database; got != database {
			t.Errorf("without %s the database is %q", text, got)
		}
	}
}

func rolesValues(t *testing.T, password, user string) map[secrets.Name]secrets.Value {
	t.Helper()
	values := map[secrets.Name]secrets.Value{}
	for name, plain := range map[secrets.Name]string{"APP_PASSWORD": password, "APP_PASSWORD_USER": user} {
		v, err := secrets.NewValue([]byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		values[name] = v
	}
	return values
}

func TestConnectionServiceFile(t *testing.T) {
	files := load(t, rolesCompose).Services["web"].Files
	values := rolesValues(t, "canary=#; 'x", "app_a")
	for i, want := range []string{"canary=#; 'x", "[minibot]\nhost=db\nport=5432\ndbname=main\nuser=app_a\npassword=canary=#; 'x\n", "app_a"} {
		if got := string(files[i].content(values)); got != want {
			t.Errorf("%s: %q", files[i].Name, got)
		}
		if err := files[i].check(values); err != nil {
			t.Error(err)
		}
	}
	// The record covers the pair in every file.
	salt := []byte("salt")
	before := fingerprint(salt, files, values)
	for _, other := range []map[secrets.Name]secrets.Value{rolesValues(t, "canary-other", "app_a"), rolesValues(t, "canary=#; 'x", "App-b")} {
		for i := range files[:2] {
			if holdsUser := i > 0; fingerprint(salt, files[i:i+1], other) == fingerprint(salt, files[i:i+1], values) && holdsUser {
				t.Errorf("%s: the record does not tell another pair", files[i].Name)
			}
		}
		if fingerprint(salt, files, other) == before {
			t.Error("the record does not tell another pair")
		}
	}
	// What would be another line is never written.
	for _, bad := range []map[secrets.Name]secrets.Value{rolesValues(t, "canary\nhost=evil", "app_a"), rolesValues(t, "canary", "a\rb")} {
		b := newBatch()
		b.stage("web", record{}, files, bad)
		if err := b.close(); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("staged: %v", err)
		}
	}
}

func TestRolesAreDelivered(t *testing.T) {
	r := newRig(t, `
services:
  a:
    image: IMAGE
    entrypoint: SLEEP
    secrets: [{ source: APP, target: db, uid: "1000", gid: "1001", mode: 0400 }]
secrets: { APP: { environment: APP, x-minibot: { rotate: { driver: postgres, service: a, roles: [app_a, app_b], owner: app } } } }
`)
	r.create()
	d := r.feed("APP", "canary-one")
	r.equal("without the role's name", d.Incomplete, "map[a:[APP_USER]]")
	d = r.feed("APP", "canary-one", "APP_USER", "app_a")
	r.equal("changed", d.Changed, "[a]")
	r.start("a")
	const show = "cd /run/secrets; cat db; echo; cat db.user; echo; cat db.pgservice; stat -c '%n %u %g %a' db*"
	const modes = "\ndb 1000 1001 400\ndb.pgservice 1000 1001 400\ndb.user 1000 1001 400"
	r.equal("files", r.sh("a", show), "canary-one\napp_a\n[minibot]\nhost=a\nport=5432\ndbname=postgres\nuser=app_a\npassword=canary-one"+modes)
	d = r.feed("APP", "canary-two", "APP_USER", "app_b")
	r.equal("changed", d.Changed, "[a]")
	r.equal("files", r.sh("a", show), "canary-two\napp_b\n[minibot]\nhost=a\nport=5432\ndbname=postgres\nuser=app_b\npassword=canary-two"+modes)
	d = r.feed("APP", "canary-two", "APP_USER", "app_a")
	r.equal("changed by the name alone", d.Changed, "[a]")
	d = r.feed("APP", "canary-two", "APP_USER", "app_a")
	r.equal("changed the second time", d.Changed, "[]")
}
