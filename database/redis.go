package database

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// Redis is a Redis server (6 or later) that reads its password from its delivered file when it starts. The zero User
// is the default user. It is safe for concurrent use.
type Redis struct {
	Container Container
	Service   string
	User      string
}

// MaxRedisPassword is the longest password in bytes: Redis closes the connection of a caller who is not logged in
// and sends a longer argument, so that nobody could use one.
const MaxRedisPassword = 16384

// Live reports that a new password comes into force by delivery and restart, not by Accept.
func (Redis) Live() bool { return false }

// Check reports whether Redis can take the password; the error wraps [ErrUnfit]. Any bytes up to
// [MaxRedisPassword] will do, line breaks too.
func (Redis) Check(value secrets.Value) error { return checkRedis(value) }

func checkRedis(value secrets.Value) error {
	switch {
	case value.IsZero():
		return fmt.Errorf("%w: with an empty password Redis would be open to all", ErrUnfit)
	case value.Len() > MaxRedisPassword:
		return fmt.Errorf("%w: it has %d bytes, and Redis lets a caller log in with at most %d", ErrUnfit, value.Len(), MaxRedisPassword)
	}
	return nil
}

// Overlaps reports that there is one password at a time.
func (Redis) Overlaps() bool { return false }

// Successor returns the same user for every credential.
func (Redis) Successor(user string) string { return user }

// Retire does nothing: the former password ended with the restart.
func (Redis) Retire(context.Context, Change) error { return nil }

// Revert does nothing: a running Redis takes what is delivered at its next start.
func (Redis) Revert(context.Context, Change) error { return nil }

// Assert returns [ErrNoEntrance].
func (r Redis) Assert(context.Context, Credential) error {
	return fmt.Errorf("service %s: %w", r.Service, ErrNoEntrance)
}

// InUse returns 0: a session does not tell which password let it in.
func (Redis) InUse(context.Context, Change, time.Time) (int, error) { return 0, nil }

// Accept only checks the value: a running Redis is left alone, and takes the password that was delivered at its next start.
func (r Redis) Accept(_ context.Context, c Change) error {
	if err := r.Check(c.Next.Password); err != nil {
		return fmt.Errorf("service %s: %w", r.Service, err)
	}
	return nil
}

// redisScript keeps an inherited password out; redis-cli reads commands from standard input where there is no terminal.
const redisScript = addressScript + `unset REDISCLI_AUTH
exec redis-cli -h "$a"
`

// Prove asks, over the container's network address, without a password, with a random one and with c's. It
// returns nil when only the last is let in, and otherwise an error that wraps [ErrRefused], [ErrOpen] or [ErrNotReady]
// where it is one of those. It changes nothing.
func (r Redis) Prove(ctx context.Context, c Credential) error {
	value := c.Password
	if err := r.Check(value); err != nil {
		return fmt.Errorf("service %s: %w", r.Service, err)
	}
	script := "PING\n" + r.auth(randomPassword()) + "PING\n" + r.auth(value.Reveal()) + "PING\n"
	res, err := run(ctx, r.Container, r.Service, []string{"sh", "-c", redisScript}, []byte(script))
	if err != nil {
		return err
	}
	replies := replyCodes(res.Stdout)
	has := func(want ...string) bool { return strings.Join(replies, " ") == strings.Join(want, " ") }
	switch {
	case has("NOAUTH", "WRONGPASS", "NOAUTH", "OK", "PONG"):
		return nil
	case has("NOAUTH", "WRONGPASS", "NOAUTH", "WRONGPASS", "NOAUTH"):
		return fmt.Errorf("service %s: %w", r.Service, ErrRefused)
	case len(replies) > 0 && replies[0] == "PONG":
		return hint.Wrap(fmt.Errorf("service %s: %w: it answers callers without one", r.Service, ErrOpen),
			"see how the service's command in the compose file passes the password to redis-server")
	case len(replies) > 1 && replies[1] == "OK":
		return fmt.Errorf("service %s: %w", r.Service, ErrOpen)
	case len(replies) > 0 && replies[len(replies)-1] == "LOADING":
		return fmt.Errorf("service %s: %w: it is loading its data", r.Service, ErrNotReady)
	case bytes.Contains(res.Stderr, []byte("Could not connect")), bytes.Contains(res.Stderr, []byte("Server closed the connection")):
		return fmt.Errorf("service %s: %w: it does not answer on its own address", r.Service, ErrNotReady)
	}
	return fmt.Errorf("service %s: log in over the network: redis-cli ended with exit code %d and unexpected replies", r.Service, res.ExitCode)
}

func (r Redis) auth(password []byte) string {
	if r.User == "" {
		return "AUTH " + quoteRedis(password) + "\n"
	}
	return "AUTH " + quoteRedis([]byte(r.User)) + " " + quoteRedis(password) + "\n"
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

// replyCodes returns the first word of each reply; redis-cli adds an empty line to an error.
func replyCodes(out []byte) []string {
	var codes []string
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			codes = append(codes, fields[0])
		}
	}
	return codes
}
