package database

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"minibot/secrets"
)

// InUse counts the sessions of the user that began before since; not those of replicas and masters. Redis tells ages in
// whole seconds: a session that began in the last two seconds before since may be missed, and one that began after it is
// never counted. It tells them by its own clock, so that only the time passed since then matters; a since that is still to
// come is now. It logs in with Current or Next. Where the user may not list sessions it returns 0.
func (r Redis) InUse(ctx context.Context, c Change, since time.Time) (int, error) {
	in, err := r.enter(ctx, c.Current, c.Next)
	if err != nil {
		return 0, err
	}
	sessions, err := r.as(ctx, in.by, "CLIENT LIST")
	if err != nil {
		return 0, err
	}
	// The wall's clock as well: Redis counts ages by it, and the monotonic one stands still while the machine sleeps.
	passed := max(time.Since(since), time.Now().Round(0).Sub(since.Round(0)), 0) // after the question, so that the delay makes no session look older
	n := 0
	for _, line := range sessions {
		switch code(line) {
		case "NOPERM":
			return 0, nil
		case "LOADING", "BUSY", "NOAUTH":
			return 0, r.sort("list the sessions", line)
		}
		if older(line, orDefault(r.User, redisDefaultUser), passed) {
			n++
		}
	}
	return n, nil
}

// older reports whether a line of CLIENT LIST is a session of the user that is certainly older than passed.
func older(line, user string, passed time.Duration) bool {
	age := time.Duration(-1)
	var name, flags string
	for _, f := range strings.Fields(line) {
		switch key, value, _ := strings.Cut(f, "="); key {
		case "age":
			if s, err := strconv.ParseInt(value, 10, 32); err == nil {
				age = time.Duration(s) * time.Second
			}
		case "user":
			name = value
		case "flags":
			flags = value
		}
	}
	return name == user && !strings.ContainsAny(flags, "SM") && age > passed+time.Second
}

// rehearsalUser is how the users of rehearsals begin.
const rehearsalUser = "minibot-rehearsal-"

// Rehearsal makes a throwaway user with a random password that may only ping, and returns its driver, its credential and
// what removes it; the driver changes it as now, which must be let in until the end. What an earlier rehearsal left
// behind goes first. The end can be repeated.
func (r Redis) Rehearsal(ctx context.Context, now Credential) (Redis, Credential, func(context.Context) error, error) {
	none := func(err error) (Redis, Credential, func(context.Context) error, error) {
		return Redis{}, Credential{}, nil, err
	}
	password, err := secrets.NewValue(randomPassword())
	if err != nil {
		return none(fmt.Errorf("service %s: %w", r.Service, err))
	}
	in, err := r.enter(ctx, now)
	if err != nil {
		return none(err)
	}
	users, err := r.as(ctx, in.by, "ACL USERS")
	if err != nil {
		return none(err)
	}
	throwaway := Redis{Container: r.Container, Service: r.Service, User: rehearsalUser + strings.ToLower(rand.Text()[:10]),
		admin: &redisLogin{user: r.User, password: now.Password}}
	end := func(ctx context.Context) error { return r.forget(ctx, now, throwaway.User) }
	for _, user := range users {
		if strings.HasPrefix(user, rehearsalUser) {
			if err := r.forget(ctx, now, user); err != nil {
				return none(err)
			}
		}
	}
	first := Credential{Password: password}
	if err := throwaway.setUser(ctx, now, "reset", "on", "#"+redisHash(password), "+ping"); err != nil {
		if errors.Is(err, errNotSaved) {
			err = errors.Join(err, end(context.WithoutCancel(ctx)))
		}
		return none(err)
	}
	return throwaway, first, end, nil
}

// forget removes a user and saves the ACL. One that is gone already is no error.
func (r Redis) forget(ctx context.Context, by Credential, user string) error {
	replies, err := r.as(ctx, by, "ACL DELUSER "+quoteRedis([]byte(user)), "ACL SAVE")
	if err != nil {
		return err
	}
	if reply := code(replies[0]); reply != "0" && reply != "1" {
		return r.sort("remove a rehearsal's user", replies[0])
	}
	return r.saved(replies[1])
}
