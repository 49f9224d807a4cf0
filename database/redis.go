package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// Redis is one user of a Redis server (6 or later); the zero User is the default user. Two of its passwords can be valid
// at once, and it changes them live, logging in over the container's network address as the user itself, which therefore
// needs the permission for ACL SETUSER and ACL SAVE, and CLIENT LIST for InUse.
//
// Where the server has an ACL file, every change is saved there, and a restart brings the same passwords back. Where it
// has none, a change is in memory: the password that is delivered decides at the next start, and repeating the call puts
// the change into force again. Sessions stay: no call ends one. It is safe for concurrent use, but two changes of one
// user at a time may undo each other.
type Redis struct {
	Container Container
	Service   string
	User      string

	admin *redisLogin // who changes User's passwords, where that is another user
}

// MaxRedisPassword is the longest password in bytes: Redis closes the connection of a caller who is not logged in
// and sends a longer argument, so that nobody could use one.
const MaxRedisPassword = 16384

// Live reports that Accept takes force at once.
func (Redis) Live() bool { return true }

// Overlaps reports that Accept leaves the current password valid until Retire.
func (Redis) Overlaps() bool { return true }

// Successor returns the same user for every credential.
func (Redis) Successor(user string) string { return user }

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

// Accept makes Next valid beside Current, logging in with either. It proves nothing. When Redis cannot save, Accept takes
// back what it added and fails. After another error Next may be valid or not: repeat the call, or Revert. The error
// wraps [ErrRefused] when neither credential logs in, [ErrOpen] when anybody does, [ErrNotReady] when it cannot be told.
func (r Redis) Accept(ctx context.Context, c Change) error {
	if err := r.Check(c.Next.Password); err != nil {
		return fmt.Errorf("service %s: %w", r.Service, err)
	}
	in, err := r.enter(ctx, c.Current, c.Next)
	if err != nil {
		return err
	}
	err = r.setUser(ctx, in.by, "#"+redisHash(c.Next.Password))
	if !errors.Is(err, errNotSaved) || in.accepts(c.Next) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisTakeBack)
	defer cancel()
	if back := r.setUser(ctx, in.by, "!"+redisHash(c.Next.Password)); back != nil && !errors.Is(back, errNotSaved) {
		return fmt.Errorf("%w; take the new password back: %w", err, back)
	}
	return err
}

// redisTakeBack bounds the undoing of a change that could not be saved; it goes on when the caller leaves.
const redisTakeBack = 10 * time.Second

// Retire makes Next the user's only password, logging in with either; a third one ends too. What else the user may or
// may not do stays. After an error Current may be valid, now or after a restart: repeat the call. Errors are Accept's.
func (r Redis) Retire(ctx context.Context, c Change) error { return r.settle(ctx, c.Next, c.Current) }

// Revert makes Current the user's only password, as Retire makes Next. Without a Current there is nothing to go back to,
// and it does nothing.
func (r Redis) Revert(ctx context.Context, c Change) error {
	if c.Current.Password.IsZero() {
		return nil
	}
	return r.settle(ctx, c.Current, c.Next)
}

// Assert makes c's password the user's only one if it logs in. Redis has no entrance without a password: where c is
// refused the error wraps [ErrNoEntrance], and a start with c delivered is what helps.
func (r Redis) Assert(ctx context.Context, c Credential) error {
	err := r.settle(ctx, c, Credential{})
	if errors.Is(err, ErrRefused) {
		return fmt.Errorf("service %s: %w", r.Service, ErrNoEntrance)
	}
	return err
}

// settle makes keep's password the only one. It logs in with keep or with other.
func (r Redis) settle(ctx context.Context, keep, other Credential) error {
	if err := r.Check(keep.Password); err != nil {
		return fmt.Errorf("service %s: %w", r.Service, err)
	}
	in, err := r.enter(ctx, keep, other)
	if err != nil {
		return err
	}
	err = r.setUser(ctx, in.by, "resetpass", "#"+redisHash(keep.Password))
	if errors.Is(err, errNotSaved) && r.onDisk(ctx, keep) {
		return nil // a full disk does not matter to what it holds already
	}
	return err
}

// Prove asks, over the container's network address, without a password, with a random one and with c's. It
// returns nil when only the last is let in, and otherwise an error that wraps [ErrRefused], [ErrOpen] or [ErrNotReady]
// where it is one of those. It changes nothing.
func (r Redis) Prove(ctx context.Context, c Credential) error {
	if err := r.Check(c.Password); err != nil {
		return fmt.Errorf("service %s: %w", r.Service, err)
	}
	in, err := r.enter(ctx, c)
	if err != nil {
		return err
	}
	switch code(in.ping) {
	case "PONG", "MISCONF", "NOPERM": // who may not ping, or gets told of a full disk, is let in
		return nil
	}
	return r.sort("ask over the network", in.ping)
}

const redisOpenHint = "see how the service's command in the compose file passes the password to redis-server"

func (r Redis) open(how string) error {
	return hint.Wrap(fmt.Errorf("service %s: %w: %s", r.Service, ErrOpen, how), redisOpenHint)
}
