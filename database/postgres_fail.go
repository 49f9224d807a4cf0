package database

import (
	"fmt"
	"regexp"
	"strings"
)

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

// connectionLost is psql's exit code for a connection that went bad, or that never was.
const connectionLost = 2

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
	if res.ExitCode > 128 { // by a signal, as all of a container that is stopped
		return fmt.Errorf("service %s: %s: %w: psql was ended with exit code %d", p.Service, doing, ErrNotReady, res.ExitCode)
	}
	if res.ExitCode == connectionLost && !strings.Contains(stderr, "FATAL") { // what it said of that may be lost with its container
		return fmt.Errorf("service %s: %s: %w: the connection was lost", p.Service, doing, ErrNotReady)
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
