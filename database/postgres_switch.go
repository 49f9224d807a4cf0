package database

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
)

const (
	readyMark     = "minibot-ready"
	committedMark = "minibot-committed"
)

// Prepare gives the role its next password in a transaction that it leaves open: the former one is good until Commit,
// which takes a few milliseconds. Meanwhile logins go on, and other changes of this server's passwords wait. The server
// rolls back after Abort, after 60 s, and when this process ends.
func (p Postgres) Prepare(ctx context.Context, c Change) (Switch, error) {
	statement, err := p.alter(p.subject(), c.Next.Password)
	if err != nil {
		return nil, err
	}
	const doing = "prepare the change of the password over the local socket"
	session, err := p.Opener.Open(ctx, p.Service, p.psql())
	if err != nil {
		return nil, p.unreachable(ctx, err)
	}
	s := &postgresSwitch{postgres: p, session: session, lines: bufio.NewReader(session)}
	if err := s.step(ctx, doing, quiet+alone+statement, readyMark); err != nil {
		s.Abort()
		return nil, err
	}
	return s, nil
}

// postgresSwitch is an open transaction.
type postgresSwitch struct {
	postgres Postgres
	session  Session
	lines    *bufio.Reader
}

// Commit implements [Switch].
func (s *postgresSwitch) Commit(ctx context.Context) error {
	defer s.Abort() // of a committed transaction only the session is left
	return s.step(ctx, "put the changed password into force", "COMMIT;\n", committedMark)
}

// Abort implements [Switch].
func (s *postgresSwitch) Abort() { _ = s.session.Close() } // there is nothing left to do where it fails: the server rolls back by itself

// step sends a script and waits until psql says that all of it is done. When ctx ends, so does the session.
func (s *postgresSwitch) step(ctx context.Context, doing, script, mark string) error {
	stop := context.AfterFunc(ctx, s.Abort)
	defer stop()
	_, failed := io.WriteString(s.session, script+"SELECT '"+mark+"';\n") // a psql that has ended says below why
	for failed == nil {
		var line string
		line, failed = s.lines.ReadString('\n')
		if strings.TrimSuffix(line, "\n") == mark {
			if !stop() {
				return s.postgres.unreachable(ctx, ctx.Err())
			}
			return nil
		}
	}
	if ctx.Err() != nil {
		return s.postgres.unreachable(ctx, ctx.Err())
	}
	if _, err := io.Copy(io.Discard, s.lines); err != nil {
		return s.postgres.unreachable(ctx, err)
	}
	res, err := s.session.Wait(ctx)
	if err != nil {
		return s.postgres.unreachable(ctx, err)
	}
	return s.postgres.fail(doing, res)
}

// unreachable sorts an error of the way to the container as [run] does.
func (p Postgres) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("service %s: %w", p.Service, ctx.Err())
	}
	return fmt.Errorf("service %s: %w: %w", p.Service, ErrNotReady, err)
}
