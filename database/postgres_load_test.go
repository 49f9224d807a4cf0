package database_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
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
	failures []time.Time // when the requests that failed began
	first    error
	end      func()
}

// share is how many requests go between two steps of a change: ten times as many where all are made, in `make soak`. A
// connection costs a new process of the server.
func share() int64 {
	if os.Getenv("MINIBOT_ALL_REQUESTS") != "" {
		return 500
	}
	return 50
}

func startLoad(t *testing.T, clients int, one func(ctx context.Context) error) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{t: t}
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				begin := time.Now()
				if err := one(t.Context()); err != nil {
					l.failed(begin, err)
				}
				l.requests.Add(1)
			}
		})
	}
	l.end = func() { cancel(); all.Wait() }
	t.Cleanup(l.end)
	return l
}

func (l *load) failed(begin time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = err
	}
	l.failures = append(l.failures, begin)
}

// window is how many requests failed since before, and how long after the first the last of them began.
func (l *load) window(before time.Time) (int, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	failed := slices.DeleteFunc(slices.Clone(l.failures), before.After)
	if len(failed) == 0 {
		return 0, 0
	}
	return len(failed), slices.MaxFunc(failed, time.Time.Compare).Sub(slices.MinFunc(failed, time.Time.Compare))
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
	clients.more(share())
	if err := p.Accept(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	clients.more(share())
	deliver(c.Next)
	clients.more(share())
	until(t, "the clients have taken the next one", func() error {
		if n, err := p.InUse(t.Context(), c, time.Now()); err != nil || n > 0 {
			return errors.Join(err, database.ErrNotReady)
		}
		return nil
	})
	if err := p.Retire(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	clients.more(3 * share())
	clients.end()
	t.Logf("%d requests, %d failures", clients.requests.Load(), len(clients.failures))
	if clients.requests.Load() < 6*share() || len(clients.failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %v", len(clients.failures), clients.requests.Load(), clients.first)
	}
	valid(t, "afterwards", p, c, false, true)
}

// One role: who reads the file before it is replaced and is asked for the password after the commit fails.
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
	for i := range 5 {
		next := "canary-LOAD-" + string(rune('a'+i))
		clients.more(share() / 5)
		before := time.Now()
		s, err := p.Prepare(t.Context(), database.Change{Next: as(value(t, next))})
		if err != nil {
			t.Fatal(err)
		}
		clients.more(share() / 5)
		begin := time.Now()
		if err := s.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		committed := time.Since(begin)
		place(t, file, next)
		replaced := time.Since(begin)
		clients.more(share() / 5)
		failed, window := clients.window(before)
		t.Logf("commit %v, file replaced after %v, %d failures within %v", committed, replaced, failed, window)
		if window > 5*time.Second {
			t.Errorf("requests failed for %v", window)
		}
	}
	clients.end()
	if clients.first != nil && !errors.Is(clients.first, database.ErrRefused) {
		t.Errorf("failed otherwise than by a refusal: %v", clients.first)
	}
}
