package database_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"minibot/database"
	"minibot/database/enginetest"
)

// published is how the server is reached from here: through the engine's port, where it asks for a password.
func published(t *testing.T, p database.Postgres) string {
	t.Helper()
	return "host=127.0.0.1 port=" + enginetest.Port(t, p.Service, "5432") + " dbname=minibot sslmode=disable"
}

// login makes a connection of its own, as Prove does, in a twentieth of the time.
func login(ctx context.Context, address, user, password string) error {
	config, err := pgconn.ParseConfig(address)
	if err != nil {
		return err
	}
	config.User, config.Password = user, password
	return request(ctx, config)
}

// request connects, asks and leaves.
func request(ctx context.Context, config *pgconn.Config) error {
	connection, err := pgconn.ConnectConfig(ctx, config)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "28P01" {
		return database.ErrRefused
	}
	if err != nil {
		return err
	}
	_, err = connection.Exec(ctx, "SELECT 1").ReadAll()
	return errors.Join(err, connection.Close(ctx))
}

// load is clients that make a request after another, each with what their file says then.
type load struct {
	t        *testing.T
	requests atomic.Int64
	mu       sync.Mutex
	failures []time.Time
	first    error
	end      func()
}

func startLoad(t *testing.T, clients int, one func(ctx context.Context) error) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{t: t}
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				err := one(t.Context())
				l.requests.Add(1)
				if err != nil {
					l.failed(err)
				}
			}
		})
	}
	l.end = func() { cancel(); all.Wait() }
	t.Cleanup(l.end)
	return l
}

func (l *load) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = err
	}
	l.failures = append(l.failures, time.Now())
}

// more returns when so many further requests are through.
func (l *load) more(n int64) {
	l.t.Helper()
	n += l.requests.Load()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for l.requests.Load() < n {
		select {
		case <-tick.C:
		case <-l.t.Context().Done():
			return
		}
	}
}

// place puts a file where another may be, as a delivery does.
func place(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// Two roles: a client that takes the pair from the service file in one read never fails.
func TestPostgresRolesUnderLoad(t *testing.T) {
	p := startRoles(t)
	p.Roles = [2]string{"app_a", "app_b"}
	c := database.Change{Current: credential(t, "app_a", "canary-LOAD-one"), Next: credential(t, "app_b", "canary-LOAD-two")}
	if err := p.Assert(t.Context(), c.Current); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "DB_PASSWORD.pgservice")
	deliver := func(c database.Credential) {
		place(t, file, "[minibot]\nuser="+c.User+"\npassword="+string(c.Password.Reveal())+"\ndbname=minibot\nhost=postgres\nport=5432\n")
	}
	deliver(c.Current)
	address := published(t, p.Admin) + " service=minibot servicefile=" + file
	clients := startLoad(t, 4, func(ctx context.Context) error {
		config, err := pgconn.ParseConfig(address)
		if err != nil {
			return err
		}
		return request(ctx, config)
	})
	clients.more(500)
	if err := p.Accept(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	clients.more(500)
	deliver(c.Next)
	clients.more(500)
	until(t, "the clients have taken the next one", func() error {
		if n, err := p.InUse(t.Context(), c, time.Now()); err != nil || n > 0 {
			return errors.Join(err, database.ErrNotReady)
		}
		return nil
	})
	if err := p.Retire(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	clients.more(1500)
	clients.end()
	t.Logf("%d requests, %d failures", clients.requests.Load(), len(clients.failures))
	if clients.requests.Load() < 3000 || len(clients.failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %v", len(clients.failures), clients.requests.Load(), clients.first)
	}
	valid(t, "afterwards", p, c, false, true)
}

// One role: the window is that between the commit and the renaming of the file.
func TestPostgresSwitchUnderLoad(t *testing.T) {
	p := startPostgres(t, "minibot", "-p", "127.0.0.1::5432")
	address := published(t, p)
	file := filepath.Join(t.TempDir(), "DB_PASSWORD")
	place(t, file, firstPassword)
	clients := startLoad(t, 4, func(ctx context.Context) error {
		password, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return login(ctx, address, "minibot", string(password))
	})
	for i := range 8 {
		next := "canary-LOAD-" + string(rune('a'+i))
		clients.more(50)
		s, err := p.Prepare(t.Context(), database.Change{Next: as(value(t, next))})
		if err != nil {
			t.Fatal(err)
		}
		clients.more(50)
		before := len(clients.failures)
		begin := time.Now()
		if err := s.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		committed := time.Since(begin)
		place(t, file, next)
		replaced := time.Since(begin)
		clients.more(50)
		clients.mu.Lock()
		failed := clients.failures[before:]
		window := time.Duration(0)
		if len(failed) > 0 {
			window = failed[len(failed)-1].Sub(failed[0])
		}
		clients.mu.Unlock()
		t.Logf("commit %v, file replaced after %v, %d failures within %v", committed, replaced, len(failed), window)
		if window > 2*time.Second {
			t.Errorf("requests failed for %v", window)
		}
	}
	clients.end()
	if clients.first != nil && !errors.Is(clients.first, database.ErrRefused) {
		t.Errorf("failed otherwise than by a refusal: %v", clients.first)
	}
}
