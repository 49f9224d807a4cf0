package database_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"minibot/database"
	"minibot/database/enginetest"
	"minibot/secrets"
)

func TestPostgresRolesCheck(t *testing.T) {
	p := database.PostgresRoles{Roles: [2]string{"a", "b"}}
	for _, bad := range append(changedByServiceFiles, "", "a\nb", "a\vb", strings.Repeat("x", database.MaxServiceFilePassword+1), "voil\u00e0", "a\u2003") {
		var v secrets.Value
		if bad != "" {
			v = value(t, bad)
		}
		mustBe(t, "check", p.Check(v), database.ErrUnfit)
	}
	for _, good := range keptByServiceFiles {
		if err := p.Check(value(t, good)); err != nil {
			t.Errorf("%.9q…: %v", good, err)
		}
	}
	for user, want := range map[string]string{"": "a", "a": "b", "b": "a", "c": "a"} {
		if got := p.Successor(user); got != want {
			t.Errorf("after %q comes %q, want %q", user, got, want)
		}
	}
}

// startRoles has two roles that do not exist yet, with names that need quoting.
func startRoles(t *testing.T, options ...string) database.PostgresRoles {
	t.Helper()
	return database.PostgresRoles{Admin: startPostgres(t, "minibot", append(options, "-p", "127.0.0.1::5432")...), Roles: [2]string{`app"a`, "App'b"}, Owner: `o'w"ner`}
}

func credential(t *testing.T, user, password string) database.Credential {
	return database.Credential{User: user, Password: value(t, password)}
}

// valid checks which of the two credentials logs in through the published port. See login.
func valid(t *testing.T, when string, p database.PostgresRoles, c database.Change, current, next bool) {
	t.Helper()
	address := published(t, p.Admin)
	for _, who := range []struct {
		name string
		c    database.Credential
		good bool
	}{{"current", c.Current, current}, {"next", c.Next, next}} {
		if err := login(t.Context(), address, who.c.User, string(who.c.Password.Reveal())); who.good && err != nil {
			t.Errorf("%s: %s: %v", when, who.name, err)
		} else if !who.good && !errors.Is(err, database.ErrRefused) {
			t.Errorf("%s: %s is let in, or: %v", when, who.name, err)
		}
	}
}

// Each step is right after every other and after itself, as when it is repeated after a crash.
func TestPostgresRolesSteps(t *testing.T) {
	t.Parallel()
	p := startRoles(t)
	c := database.Change{Current: credential(t, p.Roles[0], "canary-ROLES-one"), Next: credential(t, p.Roles[1], "canary-ROLES-two")}
	steps := map[string]func(context.Context) error{
		"accept":         func(ctx context.Context) error { return p.Accept(ctx, c) },
		"retire":         func(ctx context.Context) error { return p.Retire(ctx, c) },
		"revert":         func(ctx context.Context) error { return p.Revert(ctx, c) },
		"assert current": func(ctx context.Context) error { return p.Assert(ctx, c.Current) },
		"assert next":    func(ctx context.Context) error { return p.Assert(ctx, c.Next) },
	}
	for _, way := range []struct {
		steps         string
		current, next bool
	}{
		{"assert current", true, false}, // from nothing
		{"accept", true, true}, {"accept", true, true},
		{"retire", false, true}, {"retire", false, true}, {"accept", false, true}, {"retire", false, true},
		{"revert", true, false}, {"revert", true, false}, {"retire", false, true}, {"assert current", true, false},
		{"accept", true, true}, {"revert", true, false}, {"assert next", false, true}, {"assert next", false, true},
	} {
		if err := steps[way.steps](t.Context()); err != nil {
			t.Fatalf("%s: %v", way.steps, err)
		}
		valid(t, way.steps, p, c, way.current, way.next)
	}

	first := database.Change{Next: c.Current}
	if err := p.Revert(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	valid(t, "revert of a first one", p, c, false, false)
	if err := p.Accept(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	valid(t, "a first one", p, c, true, false)
	if err := p.Prove(t.Context(), c.Current); err != nil {
		t.Error(err)
	}
	mustBe(t, "one that is shut out", p.Prove(t.Context(), c.Next), database.ErrRefused)

	same := database.Change{Current: c.Current, Next: credential(t, p.Roles[0], "canary-ROLES-other")}
	if err := p.Accept(t.Context(), same); err == nil {
		t.Error("took the current role's password away while it was in use")
	}
	if err := p.Assert(t.Context(), credential(t, "minibot", "canary-ROLES-other")); err == nil {
		t.Error("changed a role that is none of the two")
	}
	valid(t, "refused", p, c, true, false)
	mustBe(t, "unfit", p.Accept(t.Context(), database.Change{Next: credential(t, p.Roles[1], " canary")}), database.ErrUnfit)
	state(t, "the administrator", p.Admin, nil, database.ErrRefused)
}

func TestPostgresRolesOwnAndUse(t *testing.T) {
	t.Parallel()
	p := startRoles(t)
	c := database.Change{Current: credential(t, p.Roles[0], "canary-ROLES-one"), Next: credential(t, p.Roles[1], "canary-ROLES-two")}
	if err := p.Assert(t.Context(), c.Current); err != nil {
		t.Fatal(err)
	}
	sql(t, p.Admin, `ALTER DATABASE minibot OWNER TO "o'w""ner";`)
	if err := p.Accept(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for i, role := range p.Roles {
		as := p.Admin
		as.User = role
		sql(t, as, "CREATE TABLE made_by_"+string(rune('a'+i))+" (); CREATE SCHEMA of_"+string(rune('a'+i))+";")
	}
	if owners := sql(t, p.Admin, "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename LIKE 'made_by_%';"); owners != p.Owner {
		t.Errorf("tables belong to %q", owners)
	}
	as := p.Admin
	as.User = p.Roles[1]
	sql(t, as, "INSERT INTO made_by_a DEFAULT VALUES; DROP TABLE made_by_a; DROP SCHEMA of_a;") // the other role's

	inUse := func(want int) {
		t.Helper()
		until(t, "count sessions", func() error {
			if n, err := p.InUse(t.Context(), c, time.Now()); err != nil || n != want {
				t.Logf("%d sessions, want %d: %v", n, want, err)
				return database.ErrNotReady
			}
			return nil
		})
	}
	inUse(0)
	as.User = p.Roles[0]
	s, err := enginetest.Engine{}.Open(t.Context(), p.Admin.Service, []string{"psql", "-X", "-h", "/var/run/postgresql", "-U", as.User, "-d", "minibot"})
	if err != nil {
		t.Fatal(err)
	}
	inUse(1)
	if err := p.Retire(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	inUse(1) // sessions outlive their password
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	inUse(0)

	// A role that logs in and is not the owner would leave things behind that the other cannot touch.
	sql(t, p.Admin, `ALTER ROLE "App'b" RESET role;`)
	if err := p.Prove(t.Context(), c.Next); err == nil || !strings.Contains(err.Error(), "work as") {
		t.Errorf("a role that is not the owner: %v", err)
	}
	sql(t, p.Admin, `ALTER ROLE "App'b" NOLOGIN; ALTER ROLE "App'b" PASSWORD NULL; REVOKE "o'w""ner" FROM "App'b";`)
	if err := p.Assert(t.Context(), c.Next); err != nil {
		t.Fatal(err)
	}
	valid(t, "mended", p, c, false, true)
	enginetest.Docker(t, "stop", p.Admin.Service)
	mustBe(t, "stopped", p.Accept(t.Context(), c), database.ErrNotReady)
	_, err = p.InUse(t.Context(), c, time.Now())
	mustBe(t, "stopped", err, database.ErrNotReady)
}

func TestPostgresRolesLeaveNoTrace(t *testing.T) {
	t.Parallel()
	p := startRoles(t)
	c := database.Change{Current: credential(t, p.Roles[0], "canary-ROLES-one"), Next: credential(t, p.Roles[1], "canary-ROLES-two")}
	seen := watch(t, p.Admin.Service)
	for _, step := range []func() error{
		func() error { return p.Assert(t.Context(), c.Current) }, func() error { return p.Accept(t.Context(), c) },
		func() error { return p.Prove(t.Context(), c.Next) }, func() error { return p.Retire(t.Context(), c) },
		func() error {
			s, err := p.Admin.Prepare(t.Context(), secondPassword(t))
			if err == nil {
				err = s.Commit(t.Context())
			}
			return err
		},
		func() error {
			_, _, end, err := p.Rehearsal(t.Context())
			if err == nil {
				err = end(t.Context())
			}
			return err
		},
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	processes := seen()
	if !strings.Contains(processes, "psql") {
		t.Error("the watch saw no psql, so it proves nothing")
	}
	sql(t, p.Admin, "SELECT 'marker-in-the-log';")
	log := enginetest.Docker(t, "logs", p.Admin.Service)
	if !strings.Contains(log, "marker-in-the-log") {
		t.Error("the server logs no statements, so its log proves nothing")
	}
	absent(t, "a process", processes, "canary-ROLES", nextPassword, "SCRAM-SHA-256$")
	absent(t, "the log", log, "canary-ROLES", nextPassword, "SCRAM-SHA-256$", "ALTER ROLE")
}

func TestPostgresRehearsal(t *testing.T) {
	t.Parallel()
	p := startRoles(t)
	roles := func() string { return sql(t, p.Admin, "SELECT string_agg(rolname, ',' ORDER BY oid) FROM pg_roles;") }
	sql(t, p.Admin, "REVOKE CONNECT ON DATABASE minibot FROM PUBLIC;")
	before := roles()
	acl := sql(t, p.Admin, "SELECT datacl FROM pg_database WHERE datname = 'minibot';")
	sql(t, p.Admin, "CREATE ROLE minibot_rehearsal_left; GRANT CONNECT ON DATABASE minibot TO minibot_rehearsal_left;")

	single, first, end, err := p.Admin.Rehearsal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(roles(), "minibot_rehearsal_left") {
		t.Error("an earlier rehearsal's role is left")
	}
	if err := single.Prove(t.Context(), first); err != nil {
		t.Error(err)
	}
	s, err := single.Prepare(t.Context(), database.Change{Current: first, Next: as(value(t, nextPassword))})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustBe(t, "the rehearsal's first", single.Prove(t.Context(), first), database.ErrRefused)
	if err := single.Prove(t.Context(), as(value(t, nextPassword))); err != nil {
		t.Error(err)
	}
	state(t, "the real one", p.Admin, nil, database.ErrRefused)
	if err := end(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustBe(t, "ended", single.Prove(t.Context(), as(value(t, nextPassword))), database.ErrRefused)

	pair, first, end, err := p.Rehearsal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := database.Change{Current: first, Next: credential(t, pair.Successor(first.User), "canary-ROLES-two")}
	valid(t, "begin", pair, c, true, false)
	if err := pair.Accept(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	valid(t, "accepted", pair, c, true, true)
	if err := pair.Retire(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	valid(t, "retired", pair, c, false, true)
	for range 2 {
		if err := end(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if after := roles(); after != before {
		t.Errorf("roles: %s, were %s", after, before)
	}
	if after := sql(t, p.Admin, "SELECT datacl FROM pg_database WHERE datname = 'minibot';"); after != acl {
		t.Errorf("rights: %s, were %s", after, acl)
	}
}

var (
	changedByServiceFiles = []string{" canary", "canary ", "canary\t", strings.Repeat("x", 1013)}
	keptByServiceFiles    = []string{"a b", "#canary", "[canary]", "a=b", `'"\$%;`, "p\u00e4ssword", "e\u0301", strings.Repeat("x", database.MaxServiceFilePassword)}
)

// libpq itself reads what is delivered: see docs/compose.md.
func TestPostgresServiceFile(t *testing.T) {
	t.Parallel()
	p := startRoles(t)
	read := func(password string) bool {
		if err := p.Admin.Assert(t.Context(), as(value(t, password))); err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), "docker", "exec", "-i", "-e", "PGSERVICEFILE=/tmp/service", p.Admin.Service, "sh", "-c",
			`cat >/tmp/service; exec psql -X -w -d "service=minibot host=$(hostname -i)" -c 'SELECT 1'`)
		c.Stdin = strings.NewReader("[minibot]\nuser=minibot\npassword=" + password + "\ndbname=minibot\nhost=nowhere.invalid\n")
		return c.Run() == nil
	}
	for _, password := range keptByServiceFiles {
		if !read(password) {
			t.Errorf("%.9q… does not come out", password)
		}
	}
	for _, password := range changedByServiceFiles[1:] { // the first only by readers other than libpq
		if read(password) {
			t.Errorf("%.9q… comes out after all", password)
		}
	}
}
