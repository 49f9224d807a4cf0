package database

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"minibot/secrets"
)

// rehearsalPrefix begins the names of throwaway roles; whatever is called so may be dropped.
const rehearsalPrefix = "minibot_rehearsal_"

// rehearsalPassword makes the values that a rehearsal uses.
var rehearsalPassword = secrets.Recipe{Length: 32}

// Rehearsal makes a throwaway role with a password of its own, which may do nothing but connect, and returns it as a
// database of the same kind. It drops what earlier rehearsals left; two at a time would drop each other's. The caller
// must call end, which drops the role and may be repeated; it is nil after an error.
func (p Postgres) Rehearsal(ctx context.Context) (db Postgres, first Credential, end func(context.Context) error, err error) {
	db = p
	db.role = rehearsalName()
	if first.Password, err = rehearsalPassword.Generate(); err != nil {
		return db, first, nil, err
	}
	statement, err := p.alter(db.role, first.Password)
	if err != nil {
		return db, first, nil, err
	}
	role := quoteIdentifier(db.role)
	_, err = p.administer(ctx, "make a role to rehearse with", alone+dropRehearsals+
		"CREATE ROLE "+role+" LOGIN NOINHERIT;\n"+p.letConnect(db.role)+statement+"COMMIT;\n")
	if err != nil {
		return db, first, nil, err
	}
	return db, first, p.endRehearsal, nil
}

// Rehearsal makes two throwaway roles and their owner, which may do nothing but connect, lets the first in, and returns
// them as a database of the same kind. See [Postgres.Rehearsal].
func (p PostgresRoles) Rehearsal(ctx context.Context) (db PostgresRoles, first Credential, end func(context.Context) error, err error) {
	db = p
	name := rehearsalName()
	db.Owner, db.Roles = name, [2]string{name + "_a", name + "_b"}
	first.User = db.Roles[0]
	if first.Password, err = rehearsalPassword.Generate(); err != nil {
		return db, first, nil, err
	}
	_, err = p.Admin.administer(ctx, "make roles to rehearse with", alone+dropRehearsals+
		"CREATE ROLE "+quoteIdentifier(name)+" NOLOGIN NOINHERIT;\n"+p.Admin.letConnect(name)+"COMMIT;\n")
	if err != nil {
		return db, first, nil, err
	}
	if err := db.Assert(ctx, first); err != nil {
		return db, first, nil, errors.Join(err, p.Admin.endRehearsal(ctx))
	}
	return db, first, p.Admin.endRehearsal, nil
}

func rehearsalName() string { return rehearsalPrefix + strings.ToLower(rand.Text()[:8]) }

// letConnect is for databases where PUBLIC may not.
func (p Postgres) letConnect(role string) string {
	return "GRANT CONNECT ON DATABASE " + quoteIdentifier(p.database()) + " TO " + quoteIdentifier(role) + ";\n"
}

// dropRehearsals drops every throwaway role, in the same database as it was made in.
const dropRehearsals = `SELECT format('DROP OWNED BY %I', rolname) FROM pg_roles WHERE starts_with(rolname, '` + rehearsalPrefix + `') \gexec
SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE starts_with(rolname, '` + rehearsalPrefix + `') \gexec
`

func (p Postgres) endRehearsal(ctx context.Context) error {
	_, err := p.administer(ctx, "drop the roles of a rehearsal", alone+dropRehearsals+"COMMIT;\n")
	return err
}
