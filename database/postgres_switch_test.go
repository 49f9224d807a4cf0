package database_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"minibot/database"
	"minibot/database/enginetest"
)

// state checks which of two passwords opens the door.
func state(t *testing.T, when string, p database.Postgres, current, next error) {
	t.Helper()
	for password, want := range map[string]error{firstPassword: current, nextPassword: next} {
		if err := p.Prove(t.Context(), as(value(t, password))); want == nil && err != nil {
			t.Errorf("%s: %s: %v", when, password, err)
		} else if want != nil {
			mustBe(t, when+": "+password, err, want)
		}
	}
}

const nextPassword = "canary-POSTGRES-next"

// secondPassword is the change that most tests make.
func secondPassword(t *testing.T) database.Change {
	return database.Change{Current: as(value(t, firstPassword)), Next: as(value(t, nextPassword))}
}

func TestPostgresSwitch(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, "minibot")
	refused := database.ErrRefused

	s, err := p.Prepare(t.Context(), secondPassword(t))
	if err != nil {
		t.Fatal(err)
	}
	// The server ends other transactions after 300 ms of idleness.
	sql(t, p, "SELECT pg_sleep(1);")
	state(t, "prepared", p, nil, refused)
	mustBe(t, "another change meanwhile", p.Assert(t.Context(), as(value(t, nextPassword))), database.ErrNotReady)
	s.Abort()
	state(t, "aborted", p, nil, refused)

	// Who prepares while another change is prepared waits for it.
	if s, err = p.Prepare(t.Context(), secondPassword(t)); err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	go func() { second <- p.Accept(t.Context(), database.Change{Next: as(value(t, "canary-POSTGRES-third"))}) }()
	until(t, "the second waits", func() error {
		if sql(t, p, "SELECT count(*) FROM pg_locks WHERE NOT granted;") != "1" {
			return database.ErrNotReady
		}
		return nil
	})
	begin := time.Now()
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("commit: %v", time.Since(begin))
	if err := <-second; err != nil {
		t.Error("the second:", err)
	}
	if err := p.Prove(t.Context(), as(value(t, "canary-POSTGRES-third"))); err != nil {
		t.Error(err)
	}
	if s, err = p.Prepare(t.Context(), secondPassword(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	state(t, "committed", p, refused, nil)
	s.Abort()
	state(t, "aborted too late", p, refused, nil)
	until(t, "no session is left", func() error {
		if sql(t, p, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend';") != "1" {
			return database.ErrNotReady
		}
		return nil
	})
}

// hurried is a way in that makes the server give up sooner.
type hurried struct{ enginetest.Engine }

func (h hurried) Open(ctx context.Context, service string, cmd []string) (database.Session, error) {
	s, err := h.Engine.Open(ctx, service, cmd)
	return hurriedSession{s}, err
}

type hurriedSession struct{ database.Session }

func (h hurriedSession) Write(p []byte) (int, error) {
	_, err := h.Session.Write(bytes.ReplaceAll(p, []byte("'60s'"), []byte("'2s'")))
	return len(p), err
}

func TestPostgresSwitchOnBadGround(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, "minibot")
	refused := database.ErrRefused
	ghost := p
	ghost.User = "nobody"
	if _, err := ghost.Prepare(t.Context(), secondPassword(t)); err == nil || !strings.Contains(err.Error(), "no user") {
		t.Errorf("a role that is not there: %v", err)
	}
	_, err := p.Prepare(t.Context(), database.Change{Next: as(value(t, "canary\n"))})
	mustBe(t, "a line break", err, database.ErrUnfit)
	ended, cancel := context.WithCancel(t.Context())
	s, err := p.Prepare(ended, secondPassword(t))
	if err != nil {
		t.Fatal(err)
	}
	cancel() // must not end what is prepared
	state(t, "the preparation's context has ended", p, nil, refused)
	mustBe(t, "commit in an ended context", s.Commit(ended), context.Canceled)
	_, err = p.Prepare(ended, secondPassword(t))
	mustBe(t, "prepare in an ended context", err, context.Canceled)
	if err := p.Assert(t.Context(), as(value(t, firstPassword))); err != nil { // it may have been committed
		t.Fatal(err)
	}

	// One that nobody comes back to.
	hasty := p
	hasty.Opener = hurried{}
	if s, err = hasty.Prepare(t.Context(), secondPassword(t)); err != nil {
		t.Fatal(err)
	}
	until(t, "the server gives up", func() error {
		if sql(t, p, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory';") != "0" {
			return database.ErrNotReady
		}
		return nil
	})
	if err := s.Commit(t.Context()); err == nil {
		t.Error("committed what the server had given up")
	}
	state(t, "given up", p, nil, refused)

	if s, err = p.Prepare(t.Context(), secondPassword(t)); err != nil {
		t.Fatal(err)
	}
	enginetest.Docker(t, "kill", p.Service)
	mustBe(t, "commit with the server dead", s.Commit(t.Context()), database.ErrNotReady)
	_, err = p.Prepare(t.Context(), secondPassword(t))
	mustBe(t, "prepare with the server dead", err, database.ErrNotReady)
	enginetest.Docker(t, "start", p.Service)
	until(t, "prepare while it starts", func() error {
		s, err := p.Prepare(t.Context(), secondPassword(t))
		if err == nil {
			s.Abort()
		} else if !database.Transient(err) {
			t.Errorf("while it starts: %v", err)
		}
		return err
	})
	state(t, "after a crash", p, nil, refused)
}

// fillable runs a server whose data lies on a small file system in memory, and returns how to fill and to free it.
func fillable(t *testing.T) (p database.Postgres, fill, free func()) {
	t.Helper()
	image := enginetest.Image("MINIBOT_POSTGRES_IMAGE", "minibot/postgres:local")
	volume := "type=volume,target=/data,volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=96m"
	holder := enginetest.Start(t, "--mount", volume, "--entrypoint", "sleep", image, "600")
	p = startPostgres(t, "minibot", "--volumes-from", holder, "-e", "PGDATA=/data/pg", "-e", "POSTGRES_INITDB_ARGS=--wal-segsize=1 --set min_wal_size=2")
	fill = func() {
		enginetest.Docker(t, "exec", holder, "sh", "-c", "cat /dev/zero >/data/fill || :")
		sql(t, p, `DO $$ BEGIN
			WHILE EXISTS (SELECT FROM pg_ls_waldir() WHERE length(name) = 24 AND name > pg_walfile_name(pg_current_wal_insert_lsn())) LOOP
				PERFORM pg_logical_emit_message(false, '', ''); PERFORM pg_switch_wal();
			END LOOP; END $$;
			SELECT pg_logical_emit_message(false, '', ''); SELECT pg_switch_wal();`) // the next write needs a new file
	}
	free = func() {
		enginetest.Docker(t, "exec", holder, "rm", "/data/fill")
		enginetest.Docker(t, "restart", p.Service) // it may still be on its way down, when "start" would do nothing
		until(t, "recover", func() error { return p.Prove(t.Context(), as(value(t, firstPassword))) })
	}
	return p, fill, free
}

func TestPostgresDiskFull(t *testing.T) {
	t.Parallel()
	t.Run("accept", func(t *testing.T) {
		p, fill, free := fillable(t)
		fill()
		mustBe(t, "accept", p.Accept(t.Context(), secondPassword(t)), database.ErrNotReady)
		free()
		state(t, "freed", p, nil, database.ErrRefused)
		if err := p.Accept(t.Context(), secondPassword(t)); err != nil {
			t.Error("again:", err)
		}
	})
	t.Run("commit", func(t *testing.T) {
		p, fill, free := fillable(t)
		s, err := p.Prepare(t.Context(), secondPassword(t))
		if err != nil {
			t.Fatal(err)
		}
		fill()
		mustBe(t, "commit", s.Commit(t.Context()), database.ErrNotReady)
		free()
		state(t, "freed", p, nil, database.ErrRefused)
	})
}
