package database_test

import (
	"errors"
	"strings"
	"testing"

	"minibot/database"
	"minibot/database/enginetest"
)

func TestPostgresCheck(t *testing.T) {
	for _, bad := range []string{"a\nb", "a\r", "a\n", "\xff\xfe", "md5" + strings.Repeat("0a", 16), "SCRAM-SHA-256$4096:c2FsdA==$x:y"} {
		mustBe(t, "check", database.Check(database.DriverPostgres, value(t, bad)), database.ErrUnfit)
	}
	for _, good := range []string{" ", "a b", `'"\$%`, "pässword", "md5", strings.Repeat("x", 65536)} {
		if err := (database.Postgres{}).Check(value(t, good)); err != nil {
			t.Errorf("%q…: %v", good[:1], err)
		}
	}
	mustBe(t, "driver", database.Check("oracle", value(t, "x")), database.ErrUnknownDriver)
}

// What psql ends with is an answer to wait for where the connection was lost, also where the container took psql's words along, and a
// fault where the server said why.
func TestPostgresThatIsLost(t *testing.T) {
	for stderr, ready := range map[string]bool{
		"": false, "psql:<stdin>:7: error: connection to server was lost\n": false, "could not receive data from server: Connection reset by peer\n": false,
		"psql:<stdin>:7: PANIC:  53100\n": false,
		"psql: error: connection to server on socket \"/run/s\" failed: FATAL:  something of its own\n": true,
	} {
		p := database.Postgres{Container: &told{answers: []database.Result{{ExitCode: 2, Stderr: []byte(stderr)}}}, Service: "postgres", User: "minibot", Database: "minibot"}
		if err := p.Assert(t.Context(), as(value(t, "canary-POSTGRES-lost"))); err == nil || errors.Is(err, database.ErrNotReady) == ready {
			t.Errorf("%q: %v", stderr, err)
		}
	}
}

// The real server and libpq must agree with the verifier made here. Where Postgres makes one from the same plaintext,
// the proof shows that ours opens the same door.
func TestPostgresPasswords(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, "minibot")
	sql(t, p, `CREATE ROLE "we""ird' -role\=x" SUPERUSER LOGIN PASSWORD 'canary-POSTGRES-odd'; CREATE DATABASE "od""d='\b";`)
	p.User, p.Database = `we"ird' -role\=x`, `od"d='\b`
	other := value(t, "canary-POSTGRES-other")
	mustBe(t, "the wrong one", p.Prove(t.Context(), as(other)), database.ErrRefused)

	for name, plain := range map[string]string{
		"spaces":             "  canary-POSTGRES with spaces  ",
		"quotes":             `canary-POSTGRES'"` + "`$(id)${x}$$",
		"backslash, percent": `canary-POSTGRES\n\'%s%%:"x":'y'`,
		"control":            "canary-POSTGRES\x01\x7f\t",
		"precomposed":        "canary-POSTGRES-é",
		"decomposed":         "canary-POSTGRES-e\u0301",
		"compatibility":      "canary-POSTGRES-\u2163\u00aa\ufb01",
		"mapped":             "canary-POSTGRES-\u00ad\u00a0\u200b\u3000",
		"only mapped away":   "\u00ad",
		"unassigned in 3.2":  "canary-POSTGRES-e\u0301\U0001f600",
		"prohibited":         "canary-POSTGRES-e\u0301\ue000",
		"bidi refused":       "canary-POSTGRES-e\u0301\u05d0",
		"bidi taken":         "\u05d0\u05d1-\u05d2",
		"normalises to bad":  "canary-POSTGRES-\u1d16a\u0340",
		"1000 characters":    "canary-POSTGRES-" + strings.Repeat("x", 984),
		"64 KiB":             strings.Repeat("y", 65536),
	} {
		t.Run(name, func(t *testing.T) {
			v := value(t, plain)
			if err := p.Assert(t.Context(), as(v)); err != nil {
				t.Fatal(err)
			}
			if err := p.Prove(t.Context(), as(v)); err != nil {
				t.Error(err)
			}
		})
	}
	// Equal after SASLprep: a door that both open.
	if err := p.Assert(t.Context(), as(value(t, "é"))); err != nil {
		t.Fatal(err)
	}
	if err := p.Prove(t.Context(), as(value(t, "e\u0301"))); err != nil {
		t.Error("the decomposed form of an accepted password:", err)
	}
}

func TestPostgresLeavesNoTrace(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, "minibot")
	secret := "canary-POSTGRES-trace"
	seen := watch(t, p.Service)
	if err := p.Assert(t.Context(), as(value(t, secret))); err != nil {
		t.Fatal(err)
	}
	if err := p.Prove(t.Context(), as(value(t, secret))); err != nil {
		t.Fatal(err)
	}
	processes := seen()
	if !strings.Contains(processes, "psql") {
		t.Error("the watch saw no psql, so it proves nothing")
	}
	absent(t, "a process", processes, secret, "SCRAM-SHA-256$")
	sql(t, p, "SELECT 'marker-in-the-log';")
	log := enginetest.Docker(t, "logs", p.Service)
	if !strings.Contains(log, "marker-in-the-log") {
		t.Error("the server logs no statements, so its log proves nothing")
	}
	absent(t, "the log", log, secret, "SCRAM-SHA-256$", "ALTER ROLE")

	// A statement that fails is not repeated by the error or the log either.
	ghost := p
	sql(t, p, "CREATE ROLE plain LOGIN PASSWORD 'x';")
	ghost.User = "plain"
	err := ghost.Assert(t.Context(), as(value(t, secret)))
	if err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("a role that may not change the settings: %v", err)
	}
	ghost.User = "nobody"
	if err := ghost.Assert(t.Context(), as(value(t, secret))); err == nil || !strings.Contains(err.Error(), "no user") {
		t.Errorf("a role that is not there: %v", err)
	}
	absent(t, "the log", enginetest.Docker(t, "logs", p.Service), secret, "SCRAM-SHA-256$")
}

func TestPostgresProofIsNotFooled(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, "minibot")
	hba := func(lines string) {
		enginetest.Docker(t, "exec", p.Service, "sh", "-c", `f=$PGDATA/pg_hba.conf; printf '`+lines+`' >$f`)
		sql(t, p, "SELECT pg_reload_conf();")
	}
	// Loopback trusts: the wrong password logs in there, and must not be taken for right.
	hba(`local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all ::1/128 trust\nhost all all all scram-sha-256\n`)
	until(t, "loopback trusts", func() error {
		res, err := enginetest.Engine{}.Exec(t.Context(), p.Service, []string{"psql", "-X", "-w", "-h", "127.0.0.1", "-U", "minibot", "-c", "SELECT 1"}, nil)
		if err == nil && res.ExitCode != 0 {
			err = database.ErrRefused
		}
		return err
	})
	mustBe(t, "wrong with loopback trusted", p.Prove(t.Context(), as(value(t, "canary-POSTGRES-wrong"))), database.ErrRefused)
	if err := p.Prove(t.Context(), as(value(t, firstPassword))); err != nil {
		t.Error(err)
	}
	// Everything trusts: even the right one proves nothing.
	hba(`local all all trust\nhost all all all trust\n`)
	until(t, "all trust", func() error {
		if err := p.Prove(t.Context(), as(value(t, firstPassword))); err == nil {
			return database.ErrRefused
		}
		return nil
	})
	mustBe(t, "all trusted", p.Prove(t.Context(), as(value(t, firstPassword))), database.ErrOpen)

	enginetest.Docker(t, "stop", p.Service)
	mustBe(t, "stopped", p.Prove(t.Context(), as(value(t, firstPassword))), database.ErrNotReady)
	mustBe(t, "stopped", p.Assert(t.Context(), as(value(t, firstPassword))), database.ErrNotReady)
}
