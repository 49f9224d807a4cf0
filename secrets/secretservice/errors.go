package secretservice

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/keybase/dbus"

	"minibot/hint"
	"minibot/secrets"
)

// What unlocks the keyring where there is no desktop, and makes it when there is none: gnome-keyring takes the password
// from stdin, to the last byte.
const headless = "`read -rs P; printf %s \"$P\" | gnome-keyring-daemon --replace --unlock`"

const (
	unlockHint = "unlock the keyring: on a desktop `secret-tool search --unlock service minibot`, without one " + headless
	createHint = "make one: on a desktop by logging in with a password, without one by " + headless
	startHint  = "start it: `apt-get install gnome-keyring`, then log in again on a desktop, without one " + headless
)

// errNotOne says that whoever owns the service's name does not do what the service does.
var errNotOne = errors.New("what answers on the bus is no Secret Service")

func errLocked() error { return hint.Wrap(secrets.ErrLocked, "%s", unlockHint) }

func noCollection() error {
	err := fmt.Errorf("%w: the keyring has no default collection", secrets.ErrNoStore)
	return hint.Wrap(err, "%s", createHint)
}

// noBus explains why there is no bus to talk to; the end of a context is explained by explain.
func noBus(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	err = fmt.Errorf("%w: no session bus: %w", secrets.ErrUnavailable, err)
	return hint.Wrap(err, `with the bus of your login session: export DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$(id -u)/bus`)
}

// errorName is the name of the error that bus or service have answered with, or "".
func errorName(err error) string {
	if answered, ok := errors.AsType[dbus.Error](err); ok {
		return answered.Name
	}
	return ""
}

// isGone reports whether an object is not there: it was removed meanwhile.
func isGone(err error) bool {
	switch errorName(err) {
	case "org.freedesktop.Secret.Error.NoSuchObject", "org.freedesktop.DBus.Error.UnknownObject",
		"org.freedesktop.DBus.Error.UnknownMethod", "org.freedesktop.DBus.Error.UnknownInterface":
		return true
	}
	return false
}

// isSessionLost reports whether a new session is worth a try: the service was started anew, or the key is not the one.
func isSessionLost(err error) bool {
	return errorName(err) == "org.freedesktop.Secret.Error.NoSession" || errors.Is(err, errUnreadable)
}

// isBroken reports whether err is neither an answer nor an end of the caller's patience: the connection is of no more use.
func isBroken(err error) bool {
	return err != nil && errorName(err) == "" && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) &&
		!isOurs(err)
}

// isOurs reports whether err says already what is to be said.
func isOurs(err error) bool {
	for _, own := range []error{
		secrets.ErrNotFound, secrets.ErrLocked, secrets.ErrNoStore, secrets.ErrUnavailable, secrets.ErrEmptyValue, secrets.ErrNUL,
		secrets.ErrTooLarge, errNotKept, fs.ErrClosed,
	} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}

// explain gives an error of an operation its sentinel and its hint. It never passes on what bus or service have
// answered beyond the error's name.
func explain(err error) error {
	name := errorName(err)
	switch {
	case err == nil || isOurs(err):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		err := fmt.Errorf("%w: the keyring has not answered: %w", secrets.ErrDenied, context.DeadlineExceeded)
		return hint.Wrap(err, "answer the keyring's dialog; where there is none, see `systemctl --user status gnome-keyring-daemon`")
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case name == "org.freedesktop.Secret.Error.IsLocked":
		return errLocked()
	case strings.HasSuffix(name, ".AccessDenied") || strings.HasSuffix(name, ".AuthFailed"):
		err := fmt.Errorf("%w: %s", secrets.ErrDenied, name)
		return hint.Wrap(err, "allow minibot to talk to org.freedesktop.secrets: the bus's policy or its confinement forbids it")
	case name == "org.freedesktop.DBus.Error.ServiceUnknown" || name == "org.freedesktop.DBus.Error.NameHasNoOwner" ||
		strings.HasPrefix(name, "org.freedesktop.DBus.Error.Spawn.") || errors.Is(err, errNotOne):
		return hint.Wrap(fmt.Errorf("%w: nothing on the session bus keeps secrets", secrets.ErrUnavailable), "%s", startHint)
	case name != "":
		return hint.Wrap(fmt.Errorf("%w: the keyring answered %s", secrets.ErrUnavailable, name), "%s", startHint)
	case errors.Is(err, errUnreadable) || errors.Is(err, errBadPublic):
		return hint.Wrap(fmt.Errorf("%w: %w", secrets.ErrUnavailable, err), "start the keyring anew: log out and in again")
	}
	return hint.Wrap(fmt.Errorf("%w: the connection to the session bus ended", secrets.ErrUnavailable), "%s", startHint)
}
