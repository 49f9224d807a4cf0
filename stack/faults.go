package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"runtime"
	"syscall"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"
	moby "github.com/moby/moby/client"

	"minibot/hint"
)

// Errors that callers branch on with errors.Is.
var (
	// ErrEngineUnreachable: no engine answers, or the connection to it was lost.
	ErrEngineUnreachable = errors.New("the container engine does not answer")
	// ErrNoContainer: the container does not exist (any more). List and create; do not retry.
	ErrNoContainer = errors.New("no such container")
	// ErrImageMissing: an image is not on the engine.
	ErrImageMissing = errors.New("image is not on the engine")
	// ErrNetworkMissing: a network that the container belongs to was removed. Recreate the container.
	ErrNetworkMissing = errors.New("a network of the container is missing")
	// ErrContainerStuck: the engine trips over remains of the container's last run, as after a restart of its own, and will never start
	// it again. Recreate it.
	ErrContainerStuck = errors.New("the engine has remains of the container's last run")
	// ErrStillRunning: a container runs that must not.
	ErrStillRunning = errors.New("still running")
)

// IsUnreachable reports whether err means that the engine is away, so that dialling again is what helps.
func IsUnreachable(err error) bool { return errors.Is(err, ErrEngineUnreachable) }

// lost reports whether err comes from a connection that could not be made or broke.
func lost(err error) bool {
	var operation *net.OpError
	return client.IsErrConnectionFailed(err) || moby.IsErrConnectionFailed(err) || errors.As(err, &operation) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNREFUSED)
}

// wrap gives an engine's error its context: what was being done to what.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	switch {
	case errors.Is(err, ErrEngineUnreachable), errors.Is(err, ErrNoContainer):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, context.DeadlineExceeded):
		return hint.Wrap(fmt.Errorf("%s: the engine took too long: %w", what, err), "see whether `docker ps` answers; restart the engine when it does not")
	case lost(err):
		return hint.Wrap(fmt.Errorf("%s: %w: %w", what, ErrEngineUnreachable, err), "%s", engineHint(runtime.GOOS, nil))
	}
	return takenHint(fmt.Errorf("%s: %w", what, err))
}

var networkMissing = regexp.MustCompile(`network \S+ not found`)

// containerStuck finds remains of a run in the engines' ways to say it:
//
//	failed to start shim: mkdir /run/containerd/io.containerd.runtime.v2.task/moby/ID: file exists
//	task ID: already exists
//	container with id exists: ID
//	container with given ID already exists
var containerStuck = regexp.MustCompile(`[0-9a-f]{64}: (?:file|already) exists|container with (?:given )?(?i:id) (?:already )?exists`)

// wrapContainer is wrap, and marks a container, or a network of it, that is not there, and one that can never start.
func wrapContainer(err error, format string, args ...any) error {
	if err != nil && networkMissing.MatchString(err.Error()) { // the engine calls this not found, too
		return wrap(fmt.Errorf("%w: %w", ErrNetworkMissing, err), format, args...)
	}
	if err != nil && containerStuck.MatchString(err.Error()) {
		return wrap(fmt.Errorf("%w: %w", ErrContainerStuck, err), format, args...)
	}
	if err != nil && cerrdefs.IsNotFound(err) {
		err = ErrNoContainer
	}
	return wrap(err, format, args...)
}

// portTaken finds the host's port in the engines' ways to say it:
//
//	Bind for 127.0.0.1:80 failed: port is already allocated
//	listen tcp4 127.0.0.1:80: bind: address already in use
//	failed to bind host port for 127.0.0.1:80:172.17.0.2:8080/tcp: address already in use
var portTaken = regexp.MustCompile(`:(\d+)(?::[0-9a-f.:\[\]]+:\d+)?(?:/\w+)?(?: failed)?: (?:bind: |listen: )?(?:port is already allocated|address already in use)`)

// nameTaken finds the container whose name somebody else's container has.
var nameTaken = regexp.MustCompile(`container name "/?([^"]+)" is already in use`)

// takenHint says who might hold a port that could not be bound, or a container's name.
func takenHint(err error) error {
	if m := nameTaken.FindStringSubmatch(err.Error()); m != nil {
		return hint.Wrap(err, "it is not minibot's: see `docker inspect %s`, then `docker rename %s %s-old`", m[1], m[1], m[1])
	}
	m := portTaken.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	return hint.Wrap(&PortError{Port: m[1], err: err}, "see who holds it: `docker ps --filter publish=%s`, or `lsof -nP -iTCP:%s`", m[1], m[1])
}

// PortError says that a published port is held by someone else.
type PortError struct {
	Port string
	err  error
}

func (e *PortError) Error() string { return fmt.Sprintf("port %s is in use: %s", e.Port, e.err) }
func (e *PortError) Unwrap() error { return e.err }
