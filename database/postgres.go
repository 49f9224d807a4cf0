package database

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"minibot/hint"
	"minibot/secrets"
)

// Postgres is one role of a Postgres server (14 or later) that runs in a service of the official image's kind: its
// local socket trusts the administrator, and User may change its own settings and password there, as POSTGRES_USER may.
// The server's messages must be in English, as they are in the official images. The zero User is "postgres", the zero
// Database the user's name. It is safe for concurrent use.
type Postgres struct {
	Container Container
	Service   string
	User      string
	Database  string
}

// Live reports that Accept takes force at once.
func (Postgres) Live() bool { return true }

// Overlaps reports that a role has one password at a time.
func (Postgres) Overlaps() bool { return false }

// Successor returns the same role for every credential.
func (Postgres) Successor(user string) string { return user }

// Retire does nothing: the former password ended with Accept.
func (Postgres) Retire(context.Context, Change) error { return nil }

// Revert makes the role's password the former one again.
func (p Postgres) Revert(ctx context.Context, c Change) error { return p.Assert(ctx, c.Current) }

// InUse returns 0: a session does not tell which password let it in.
func (Postgres) InUse(context.Context, Change, time.Time) (int, error) { return 0, nil }

// Check reports whether Postgres can take the password; the error wraps [ErrUnfit]. Any UTF-8 without line breaks
// will do, except what Postgres would take for a verifier. There is no limit of length below [secrets.MaxValueSize].
func (Postgres) Check(value secrets.Value) error { return checkPostgres(value) }

var md5Verifier = regexp.MustCompile(`^md5[0-9a-f]{32}$`)

func checkPostgres(value secrets.Value) error {
	plain := value.Reveal()
	switch {
	case len(plain) == 0:
		return fmt.Errorf("%w: Postgres takes no empty password", ErrUnfit)
	case bytes.ContainsAny(plain, "\r\n"):
		return fmt.Errorf("%w: it holds a line break, and Postgres' own programs read a password as one line", ErrUnfit)
	case bytes.IndexByte(plain, 0) >= 0:
		return fmt.Errorf("%w: it holds a NUL byte", ErrUnfit)
	case !utf8.Valid(plain):
		return fmt.Errorf("%w: it is not valid UTF-8, which Postgres requires", ErrUnfit)
	case bytes.HasPrefix(plain, []byte("SCRAM-SHA-256$")) || md5Verifier.Match(plain):
		return fmt.Errorf("%w: it looks like a password verifier, and Postgres would take it for one", ErrUnfit)
	}
	return nil
}

const socketDir = "/var/run/postgresql" // of the official images and Debian's; given so that no PGHOST leads elsewhere

// quiet keeps the statement that follows out of the server's log and statistics. Each is a statement of its own,
// because a setting in the same one would come too late. Settings of a module that is not loaded are placeholders.
const quiet = `SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;
SET log_min_duration_sample = -1;
SET log_transaction_sample_rate = 0;
SET debug_print_parse = off;
SET track_activities = off;
SET pg_stat_statements.track = 'none';
SET pgaudit.log = 'none';
SET synchronous_commit = 'local';
SET lock_timeout = '5s';
SET statement_timeout = '10s';
`

// Accept makes the next password the role's: see Assert.
func (p Postgres) Accept(ctx context.Context, c Change) error { return p.Assert(ctx, c.Next) }

// Assert makes the role's password that of c, at once and durably, over the container's local socket, where no password is
// needed. It sends a SCRAM-SHA-256 verifier made here, never the password. To repeat it is harmless. After an error the
// role may have either password.
func (p Postgres) Assert(ctx context.Context, c Credential) error {
	value := c.Password
	if err := p.Check(value); err != nil {
		return fmt.Errorf("service %s: %w", p.Service, err)
	}
	v, err := verifier(value.Reveal())
	if err != nil {
		return fmt.Errorf("service %s: %w", p.Service, err)
	}
	script := quiet + "ALTER ROLE " + quoteIdentifier(p.user()) + " PASSWORD '" + v + "';\n"
	// With VERBOSITY sqlstate an error is its code alone; otherwise psql would quote the statement.
	cmd := []string{"psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=sqlstate", "-v", "SHOW_CONTEXT=never",
		"-d", p.conninfo(socketDir), "-f", "-"}
	res, err := run(ctx, p.Container, p.Service, cmd, []byte(script))
	if err != nil {
		return err
	}
	if res.ExitCode == 0 {
		return nil
	}
	return p.fail("change the password over the local socket", res)
}

// proveScript asks pg_isready first: it knows a server that is starting, stopping or absent by its exit code. psql
// prompts for the password (-W); without a terminal the prompt reads standard input.
const proveScript = addressScript + `pg_isready -q -t 5 -h "$a" -d "$1"; r=$?
case $r in 0) ;; 1) exit 95;; *) exit 94;; esac
export LC_ALL=C PGCONNECT_TIMEOUT=10
exec psql -X -q -A -t -W -d "host='$a' $1" -c 'SELECT 1'
`

// Prove logs in over the container's network address with c and then with a random password. It returns nil when
// the first is accepted and the second is not, and otherwise an error that wraps [ErrRefused], [ErrOpen] or
// [ErrNotReady] where it is one of those. It changes nothing.
func (p Postgres) Prove(ctx context.Context, c Credential) error {
	value := c.Password
	if err := p.Check(value); err != nil {
		return fmt.Errorf("service %s: %w", p.Service, err)
	}
	right, err := p.login(ctx, value.Reveal())
	if err != nil {
		return err
	}
	if !right {
		return fmt.Errorf("service %s: %w for user %q", p.Service, ErrRefused, p.user())
	}
	wrong, err := p.login(ctx, randomPassword())
	if err != nil {
		return err
	}
	if wrong {
		return hint.Wrap(fmt.Errorf("service %s: %w", p.Service, ErrOpen),
			"look for a line with trust in pg_hba.conf, or POSTGRES_HOST_AUTH_METHOD in the compose file")
	}
	return nil
}

// login reports whether the server lets the password in.
func (p Postgres) login(ctx context.Context, password []byte) (bool, error) {
	cmd := []string{"sh", "-c", proveScript, "sh", p.conninfo("")}
	res, err := run(ctx, p.Container, p.Service, cmd, append(password, '\n'))
	switch {
	case err != nil:
		return false, err
	case res.ExitCode == 0:
		return true, nil
	case bytes.Contains(res.Stderr, []byte("password authentication failed")):
		return false, nil
	}
	return false, p.fail("log in over the network", res)
}

var sqlState = regexp.MustCompile(`(?m)(?:ERROR|FATAL|PANIC):\s+([0-9A-Z]{5})\s*$`)

// connectFailures maps what libpq says to a cause; libpq gives no code for a connection that fails.
var connectFailures = []struct {
	text, cause string
	transient   bool
}{
	{"the database system is starting up", "it is starting", true},
	{"the database system is shutting down", "it is stopping", true},
	{"the database system is not yet accepting connections", "it is starting", true},
	{"the database system is in recovery mode", "it is recovering", true},
	{"Connection refused", "it does not answer", true},
	{"No such file or directory", "its socket is not there", true},
	{"timeout expired", "it does not answer in time", true},
	{"server closed the connection unexpectedly", "it closed the connection", true},
	{"too many clients already", "it has no connection left", true},
	{"remaining connection slots are reserved", "it has no connection left", true},
	{"no pg_hba.conf entry", "its pg_hba.conf has no line for this connection", false},
	{"Peer authentication failed", "its local socket does not trust this user", false},
	{"no password supplied", "its local socket asks for a password", false},
	{"is not permitted to log in", "the user may not log in", false},
}

// fail says what went wrong without repeating any output.
func (p Postgres) fail(doing string, res Result) error {
	stderr := string(res.Stderr)
	for _, f := range connectFailures {
		if !strings.Contains(stderr, f.text) {
			continue
		}
		if f.transient {
			return fmt.Errorf("service %s: %s: %w: %s", p.Service, doing, ErrNotReady, f.cause)
		}
		return fmt.Errorf("service %s: %s as user %q: %s", p.Service, doing, p.user(), f.cause)
	}
	switch {
	case strings.Contains(stderr, "role ") && strings.Contains(stderr, "does not exist"):
		return fmt.Errorf("service %s: %s: there is no user %q", p.Service, doing, p.user())
	case strings.Contains(stderr, "database ") && strings.Contains(stderr, "does not exist"):
		return fmt.Errorf("service %s: %s: there is no database %q", p.Service, doing, p.database())
	}
	if m := sqlState.FindStringSubmatch(stderr); m != nil {
		switch {
		case strings.HasPrefix(m[1], "57P"), m[1] == "55P03", m[1] == "57014", strings.HasPrefix(m[1], "53"):
			return fmt.Errorf("service %s: %s: %w: SQLSTATE %s", p.Service, doing, ErrNotReady, m[1])
		}
		return fmt.Errorf("service %s: %s as user %q: SQLSTATE %s", p.Service, doing, p.user(), m[1])
	}
	return fmt.Errorf("service %s: %s as user %q: psql ended with exit code %d", p.Service, doing, p.user(), res.ExitCode)
}

func (p Postgres) user() string     { return orDefault(p.User, "postgres") }
func (p Postgres) database() string { return orDefault(p.Database, p.user()) }

// conninfo is a connection string in which no part of a name can be taken for another parameter.
func (p Postgres) conninfo(host string) string {
	s := "user=" + quoteConninfo(p.user()) + " dbname=" + quoteConninfo(p.database())
	if host != "" {
		s += " host=" + quoteConninfo(host)
	}
	return s
}

func quoteConninfo(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func quoteIdentifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
