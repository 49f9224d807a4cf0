package database

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"minibot/secrets"
)

// PostgresRoles are two login roles of a Postgres server that take turns: the next credential is always the other
// role's, so that two are good for a while. Both are members of one owner role and work as it from their first
// statement on, so that what either creates is the owner's. It makes the roles that are missing and never drops one; what
// the owner may do is not its business. It is safe for concurrent use.
type PostgresRoles struct {
	Admin Postgres // its User manages the roles over the local socket, and is none of them
	Roles [2]string
	Owner string
}

// Live reports that Accept takes force at once.
func (PostgresRoles) Live() bool { return true }

// Overlaps reports that Accept leaves the current credential valid.
func (PostgresRoles) Overlaps() bool { return true }

// Successor returns the other role, and the first for whatever is neither.
func (p PostgresRoles) Successor(user string) string {
	if user == p.Roles[0] {
		return p.Roles[1]
	}
	return p.Roles[0]
}

// MaxServiceFilePassword is the longest password in bytes that libpq reads from a connection service file.
const MaxServiceFilePassword = 1012

// Check reports whether the value can be such a password; the error wraps [ErrUnfit]. Beside what [Postgres] refuses it
// must come out of a connection service file as it went in.
func (PostgresRoles) Check(value secrets.Value) error {
	if err := checkPostgres(value); err != nil {
		return err
	}
	plain := value.Reveal()
	defer clear(plain)
	first, _ := utf8.DecodeRune(plain)
	last, _ := utf8.DecodeLastRune(plain)
	switch {
	case len(plain) > MaxServiceFilePassword:
		return fmt.Errorf("%w: it has %d bytes, and libpq reads at most %d from a connection service file", ErrUnfit, len(plain), MaxServiceFilePassword)
	case unicode.IsSpace(first) || unicode.IsSpace(last):
		return fmt.Errorf("%w: it begins or ends with a space, which readers of a connection service file drop", ErrUnfit)
	case plain[len(plain)-1] == 0x85 || plain[len(plain)-1] == 0xa0:
		// the last byte of some letters; libpq asks the C library about it, and macOS' takes it for a space
		return fmt.Errorf("%w: its last byte looks like a space to some readers of a connection service file", ErrUnfit)
	case bytes.ContainsAny(plain, "\v\f"):
		return fmt.Errorf("%w: it holds a form feed or a vertical tab", ErrUnfit)
	}
	return nil
}

// Accept makes what roles are missing and lets the next credential in beside the current one. To repeat it is harmless.
func (p PostgresRoles) Accept(ctx context.Context, c Change) error {
	if c.Next.User == c.Current.User && !c.Current.Password.IsZero() && !c.Current.Password.Equal(c.Next.Password) {
		return fmt.Errorf("service %s: the next user must be the other role, or user %q would lose its password at once", p.Admin.Service, c.Next.User)
	}
	return p.set(ctx, "let the next role in", c.Next, false)
}

// Retire makes the next credential the only one of the two roles. To repeat it is harmless.
func (p PostgresRoles) Retire(ctx context.Context, c Change) error { return p.Assert(ctx, c.Next) }

// Revert makes the current credential the only one of the two roles; where there is none, neither role has any. To
// repeat it is harmless.
func (p PostgresRoles) Revert(ctx context.Context, c Change) error {
	if c.Current.Password.IsZero() {
		_, err := p.Admin.administer(ctx, "shut the roles out", alone+p.ensure()+p.shut(p.Roles[0])+p.shut(p.Roles[1])+"COMMIT;\n")
		return err
	}
	return p.Assert(ctx, c.Current)
}

// Assert makes what roles are missing and c the only credential of the two: the other role has no password. Sessions stay.
func (p PostgresRoles) Assert(ctx context.Context, c Credential) error {
	return p.set(ctx, "let one role in and shut the other out", c, true)
}

func (p PostgresRoles) set(ctx context.Context, doing string, c Credential, only bool) error {
	if c.User != p.Roles[0] && c.User != p.Roles[1] {
		return fmt.Errorf("service %s: user %q is neither of its roles", p.Admin.Service, c.User)
	}
	if err := p.Check(c.Password); err != nil {
		return fmt.Errorf("service %s: %w", p.Admin.Service, err)
	}
	script, err := p.Admin.alter(c.User, c.Password)
	if err != nil {
		return err
	}
	if only {
		script += p.shut(p.Successor(c.User))
	}
	_, err = p.Admin.administer(ctx, doing, alone+p.ensure()+script+"COMMIT;\n")
	return err
}

func (PostgresRoles) shut(role string) string {
	return "ALTER ROLE " + quoteIdentifier(role) + " PASSWORD NULL;\n"
}

// ensure is a script that leaves the three roles as they are meant to be. A role has the right to connect from PUBLIC or
// from its owner.
func (p PostgresRoles) ensure() string {
	var s strings.Builder
	create := func(role, how string) {
		s.WriteString("SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = " + quoteLiteral(role) + ") AS missing \\gset\n" +
			"\\if :missing\nCREATE ROLE " + quoteIdentifier(role) + " " + how + ";\n\\endif\n")
	}
	create(p.Owner, "NOLOGIN")
	for _, role := range p.Roles {
		create(role, "LOGIN INHERIT")
		id := quoteIdentifier(role)
		s.WriteString("ALTER ROLE " + id + " LOGIN INHERIT;\nGRANT " + quoteIdentifier(p.Owner) + " TO " + id + ";\n" +
			"ALTER ROLE " + id + " SET role = " + quoteLiteral(p.Owner) + ";\n")
	}
	return s.String()
}

// Prove is as [Postgres.Prove], for c's user, who must also work as the owner.
func (p PostgresRoles) Prove(ctx context.Context, c Credential) error {
	if err := p.Check(c.Password); err != nil {
		return fmt.Errorf("service %s: %w", p.Admin.Service, err)
	}
	worker, err := p.Admin.prove(ctx, c.User, c.Password)
	if err == nil && worker != p.Owner {
		err = fmt.Errorf("service %s: user %q logs in and does not work as %q", p.Admin.Service, c.User, p.Owner)
	}
	return err
}

// InUse counts the sessions of the current credential's role, whenever they began.
func (p PostgresRoles) InUse(ctx context.Context, c Change, _ time.Time) (int, error) {
	const doing = "count the sessions"
	if c.Current.User == "" || c.Current.User == c.Next.User {
		return 0, nil
	}
	out, err := p.Admin.administer(ctx, doing, "SELECT count(*) FROM pg_stat_activity WHERE usename = "+quoteLiteral(c.Current.User)+";\n")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		return 0, fmt.Errorf("service %s: %s: %w", p.Admin.Service, doing, errors.New("psql answered with no number"))
	}
	return n, nil
}
