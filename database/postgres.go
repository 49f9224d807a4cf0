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
// Database the user's name. It is safe for concurrent use. Changes made through it wait for one another, up to 5 s.
type Postgres struct {
	Container Container
	Opener    Opener // Prepare needs it, nothing else does
	Service   string
	User      string
	Database  string

	role string // whose password it is; "" is User. User is the administrator all the same
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
	defer clear(plain)
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
// The last ones let a transaction stay open while files are made ready, whatever the server's own limits are, and end
// it where nobody comes back: its session may outlive the process that opened it. Servers before 17 have no transaction_timeout.
const quiet = `SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;
SET log_min_duration_sample = -1;
SET log_transaction_sample_rate = 0;
SET debug_print_parse = off;
SET track_activities = off;
SET pg_stat_statements.track = 'none';
SET pgaudit.log = 'none';
SET client_min_messages = 'warning';
SET standard_conforming_strings = on;
SET synchronous_commit = 'local';
SET lock_timeout = '5s';
SET statement_timeout = '10s';
SET idle_in_transaction_session_timeout = '60s';
SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout' \g /dev/null
`

// Accept makes the next password the role's: see Assert.
func (p Postgres) Accept(ctx context.Context, c Change) error { return p.Assert(ctx, c.Next) }

// alone lets one transaction of this kind go on at a time, so that a second one waits for it, under lock_timeout, and
// then sees its outcome. The number is arbitrary.
const alone = "BEGIN;\nSELECT pg_advisory_xact_lock(30799425650093940);\n"

// Assert makes the role's password that of c, at once and durably, over the container's local socket, where no password is
// needed. It sends a SCRAM-SHA-256 verifier made here, never the password. To repeat it is harmless. After an error the
// role may have either password.
func (p Postgres) Assert(ctx context.Context, c Credential) error {
	statement, err := p.alter(p.subject(), c.Password)
	if err != nil {
		return err
	}
	_, err = p.administer(ctx, "change the password over the local socket", alone+statement+"COMMIT;\n")
	return err
}

// alter is the statement that gives a role its password.
func (p Postgres) alter(role string, value secrets.Value) (string, error) {
	if err := p.Check(value); err != nil {
		return "", fmt.Errorf("service %s: %w", p.Service, err)
	}
	plain := value.Reveal()
	defer clear(plain)
	v, err := verifier(plain)
	if err != nil {
		return "", fmt.Errorf("service %s: %w", p.Service, err)
	}
	return "ALTER ROLE " + quoteIdentifier(role) + " PASSWORD '" + v + "';\n", nil
}

// administer runs a script as User over the local socket, unseen by the server's log, and returns its standard output.
func (p Postgres) administer(ctx context.Context, doing, script string) (string, error) {
	res, err := run(ctx, p.Container, p.Service, p.psql(), []byte(quiet+script))
	if err != nil {
		return "", err
	}
	if res.ExitCode != 0 {
		return "", p.fail(doing, res)
	}
	return string(res.Stdout), nil
}

// psql reads a script. With VERBOSITY sqlstate an error is its code alone; otherwise psql would quote the statement.
func (p Postgres) psql() []string {
	return []string{"psql", "-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=sqlstate", "-v", "SHOW_CONTEXT=never",
		"-d", conninfo(p.user(), p.database(), socketDir), "-f", "-"}
}

// proveScript asks pg_isready first: it knows a server that is starting, stopping or absent by its exit code. psql
// prompts for the password (-W); without a terminal the prompt reads standard input.
const proveScript = addressScript + `pg_isready -q -t 5 -h "$a" -d "$1"; r=$?
case $r in 0) ;; 1) exit 95;; *) exit 94;; esac
export LC_ALL=C PGCONNECT_TIMEOUT=10
exec psql -X -q -A -t -W -d "host='$a' $1" -c 'SELECT current_user'
`

// Prove logs in over the container's network address with c and then with a random password. It returns nil when
// the first is accepted and the second is not, and otherwise an error that wraps [ErrRefused], [ErrOpen] or
// [ErrNotReady] where it is one of those. It changes nothing.
func (p Postgres) Prove(ctx context.Context, c Credential) error {
	_, err := p.prove(ctx, p.subject(), c.Password)
	return err
}

// prove does so for a role, and returns the role as which its session works.
func (p Postgres) prove(ctx context.Context, role string, value secrets.Value) (string, error) {
	if err := p.Check(value); err != nil {
		return "", fmt.Errorf("service %s: %w", p.Service, err)
	}
	worker, right, err := p.login(ctx, role, value.Reveal())
	if err != nil {
		return "", err
	}
	if !right {
		return "", fmt.Errorf("service %s: %w for user %q", p.Service, ErrRefused, role)
	}
	_, wrong, err := p.login(ctx, role, randomPassword())
	if err != nil {
		return "", err
	}
	if wrong {
		return "", hint.Wrap(fmt.Errorf("service %s: %w", p.Service, ErrOpen),
			"look for a line with trust in pg_hba.conf, or POSTGRES_HOST_AUTH_METHOD in the compose file")
	}
	return worker, nil
}

// login reports whether the server lets a role in with the password, which it clears, and as which role its session works.
func (p Postgres) login(ctx context.Context, role string, password []byte) (string, bool, error) {
	cmd := []string{"sh", "-c", proveScript, "sh", conninfo(role, p.database(), "")}
	line := make([]byte, len(password)+1)
	line[copy(line, password)] = '\n'
	clear(password)
	defer clear(line)
	res, err := run(ctx, p.Container, p.Service, cmd, line)
	switch {
	case err != nil:
		return "", false, err
	case res.ExitCode == 0:
		return strings.TrimSuffix(string(res.Stdout), "\n"), true, nil
	case bytes.Contains(res.Stderr, []byte("password authentication failed")):
		return "", false, nil
	}
	p.User, p.Database = role, p.database()
	return "", false, p.fail("log in over the network", res)
}

func (p Postgres) user() string     { return orDefault(p.User, "postgres") }
func (p Postgres) subject() string  { return orDefault(p.role, p.user()) }
func (p Postgres) database() string { return orDefault(p.Database, p.user()) }

// conninfo is a connection string in which no part of a name can be taken for another parameter.
func conninfo(user, database, host string) string {
	s := "user=" + quoteConninfo(user) + " dbname=" + quoteConninfo(database)
	if host != "" {
		s += " host=" + quoteConninfo(host)
	}
	return s
}

func quoteConninfo(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func quoteIdentifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// quoteLiteral relies on standard_conforming_strings, which quiet sets.
func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
