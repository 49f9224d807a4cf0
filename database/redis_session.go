package database

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"minibot/hint"
	"minibot/secrets"
)

// redisLogin is a user of Redis, by name ("" is the default user), and its password.
type redisLogin struct {
	user     string
	password secrets.Value
}

// redisScript keeps an inherited password out; redis-cli reads commands from standard input where there is no terminal.
const redisScript = addressScript + `unset REDISCLI_AUTH
exec redis-cli -h "$a"
`

// talk gives the commands to redis-cli in the container, which asks the server at the container's own address, and
// returns the lines of all replies in order, without empty ones: at least one a command. It fails when the server ends
// the conversation.
func (r Redis) talk(ctx context.Context, commands ...string) ([]string, error) {
	res, err := run(ctx, r.Container, r.Service, []string{"sh", "-c", redisScript}, []byte(strings.Join(commands, "\n")+"\n"))
	if err != nil {
		return nil, err
	}
	for _, lost := range []string{"Could not connect", "Server closed the connection", "Connection reset", "Broken pipe", "I/O error"} {
		if bytes.Contains(res.Stderr, []byte(lost)) {
			return nil, fmt.Errorf("service %s: %w: it does not answer on its own address", r.Service, ErrNotReady)
		}
	}
	var replies []string
	for line := range strings.Lines(string(res.Stdout)) {
		if line = strings.TrimSpace(line); line != "" {
			replies = append(replies, line)
		}
	}
	switch {
	case res.ExitCode == 126, res.ExitCode == 127:
		return nil, fmt.Errorf("service %s: its container has no redis-cli", r.Service)
	case len(replies) < len(commands):
		return nil, fmt.Errorf("service %s: %w: it broke off after %d of %d replies", r.Service, ErrNotReady, len(replies), len(commands))
	}
	return replies, nil
}

// code is the first word of a reply.
func code(reply string) string { return strings.Fields(reply)[0] }

// sort makes an error of a reply that was not the expected one. It does not quote it.
func (r Redis) sort(doing, reply string) error {
	fail := func(err error, why string) error {
		return fmt.Errorf("service %s: %s: %w: %s", r.Service, doing, err, why)
	}
	switch first, _, _ := strings.Cut(reply, " "); first {
	case "LOADING":
		return fail(ErrNotReady, "it is loading its data")
	case "BUSY":
		return fail(ErrNotReady, "it is busy with a script")
	case "MASTERDOWN":
		return fail(ErrNotReady, "it has lost its master")
	case "NOAUTH", "WRONGPASS":
		return fmt.Errorf("service %s: %s: %w", r.Service, doing, ErrRefused)
	case "DENIED":
		return r.open("it is in protected mode, with no password set")
	case "MISCONF", "OOM", "READONLY":
		return fmt.Errorf("service %s: %s: Redis answers %s: it takes no writes now", r.Service, doing, first)
	case "NOPERM":
		return hint.Wrap(fmt.Errorf("service %s: %s: the user has no permission for it", r.Service, doing),
			"allow the user +acl, +client|list and +config|get, or rotate a user that may do that")
	}
	if strings.HasPrefix(reply, "ERR max number of clients") {
		return fail(ErrNotReady, "it has no connection left")
	}
	return fmt.Errorf("service %s: %s: unexpected replies", r.Service, doing)
}

// entered tells which credentials are let in, and one of them.
type entered struct {
	by   Credential
	in   []Credential
	ping string // the reply to a PING afterwards
}

func (e entered) accepts(c Credential) bool {
	return slices.ContainsFunc(e.in, func(o Credential) bool { return o.Password.Equal(c.Password) })
}

// enter finds which of the credentials are let in; those that cannot be a password are not asked about. The error
// wraps [ErrRefused] when none is, and [ErrOpen] when a caller is let in who says nothing, or a random password.
func (r Redis) enter(ctx context.Context, credentials ...Credential) (entered, error) {
	commands := []string{"PING", r.auth(randomPassword())}
	var asked []Credential
	for _, c := range credentials {
		if checkRedis(c.Password) == nil {
			asked = append(asked, c)
			commands = append(commands, r.auth(c.Password.Reveal()))
		}
	}
	replies, err := r.talk(ctx, append(commands, "PING")...)
	switch {
	case err != nil:
		return entered{}, err
	case code(replies[0]) == "PONG":
		return entered{}, r.open("it answers callers without one")
	case code(replies[0]) != "NOAUTH":
		return entered{}, r.sort("ask over the network", replies[0])
	case len(replies) != len(commands)+1:
		return entered{}, r.sort("ask over the network", "")
	case code(replies[1]) == "OK":
		return entered{}, r.open("it lets a random one in")
	}
	e := entered{ping: replies[len(replies)-1]}
	for i, reply := range replies[2 : len(replies)-1] {
		switch code(reply) {
		case "OK":
			e.in = append(e.in, asked[i])
		case "WRONGPASS":
		default:
			return entered{}, r.sort("log in over the network", reply)
		}
	}
	if len(e.in) == 0 {
		return entered{}, fmt.Errorf("service %s: %w", r.Service, ErrRefused)
	}
	e.by = e.in[0]
	return e, nil
}

// as logs in as by, or as the admin where there is one, and then gives the commands. It returns the replies to those.
func (r Redis) as(ctx context.Context, by Credential, commands ...string) ([]string, error) {
	login := r.auth(by.Password.Reveal())
	if r.admin != nil {
		login = authRedis(r.admin.user, r.admin.password.Reveal())
	}
	replies, err := r.talk(ctx, append([]string{login}, commands...)...)
	if err != nil {
		return nil, err
	}
	if code(replies[0]) != "OK" {
		return nil, r.sort("log in over the network", replies[0])
	}
	return replies[1:], nil
}

// errNotSaved: the change is in force, and not in the ACL file.
var errNotSaved = errors.New("it cannot write its ACL file")

const noACLFile = "ERR This Redis instance is not configured to use an ACL file"

// saved sorts the reply to ACL SAVE. Without an ACL file there is nothing to save to.
func (r Redis) saved(reply string) error {
	switch {
	case code(reply) == "OK", strings.HasPrefix(reply, noACLFile):
		return nil
	case strings.HasPrefix(reply, "ERR There was an error trying to save"):
		return hint.Wrap(fmt.Errorf("service %s: %w", r.Service, errNotSaved), "see the service's log; its disk may be full, or the file's folder not Redis' own")
	}
	return fmt.Errorf("%w: %w", errNotSaved, r.sort("save the ACL", reply))
}

// setUser applies rules to the user and saves the ACL. The error wraps errNotSaved when only the latter failed.
func (r Redis) setUser(ctx context.Context, by Credential, rules ...string) error {
	replies, err := r.as(ctx, by, aclSetUser(r.User, rules...), "ACL SAVE")
	if err != nil {
		return err
	}
	if code(replies[0]) != "OK" {
		return r.sort("change the user", replies[0])
	}
	return r.saved(replies[1])
}

// onDisk reports whether the ACL file holds keep's password for the user and no other. Doubt is no.
func (r Redis) onDisk(ctx context.Context, keep Credential) bool {
	replies, err := r.as(ctx, keep, "CONFIG GET aclfile")
	if err != nil || len(replies) != 2 {
		return false
	}
	res, err := r.Container.Exec(ctx, r.Service, []string{"cat", "--", replies[1]}, nil)
	if err != nil || res.ExitCode != 0 {
		return false
	}
	var held []string
	for line := range strings.Lines(string(res.Stdout)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "user" || fields[1] != orDefault(r.User, redisDefaultUser) {
			continue
		}
		for _, f := range fields[2:] {
			if strings.HasPrefix(f, "#") || f == "nopass" {
				held = append(held, f)
			}
		}
	}
	return slices.Equal(held, []string{"#" + redisHash(keep.Password)})
}

const redisDefaultUser = "default"

func (r Redis) auth(password []byte) string { return authRedis(r.User, password) }

func authRedis(user string, password []byte) string {
	return "AUTH " + quoteRedis([]byte(orDefault(user, redisDefaultUser))) + " " + quoteRedis(password)
}

// aclSetUser is a command whose arguments Redis 7 and later blank out in MONITOR and SLOWLOG; Redis 6 shows it in neither.
func aclSetUser(user string, rules ...string) string {
	command := "ACL SETUSER " + quoteRedis([]byte(orDefault(user, redisDefaultUser)))
	for _, rule := range rules {
		command += " " + quoteRedis([]byte(rule))
	}
	return command
}

// redisHash is the form in which Redis keeps a password.
func redisHash(password secrets.Value) string {
	plain := password.Reveal()
	defer clear(plain)
	sum := sha256.Sum256(plain)
	return hex.EncodeToString(sum[:])
}

// quoteRedis writes an argument of redis-cli in hexadecimal, so that no byte means anything to it.
func quoteRedis(b []byte) string {
	var s strings.Builder
	s.WriteByte('"')
	for _, c := range b {
		s.WriteString(`\x` + hex.EncodeToString([]byte{c}))
	}
	s.WriteByte('"')
	return s.String()
}
