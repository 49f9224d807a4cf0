package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	cerrdefs "github.com/containerd/errdefs"

	"minibot/hint"
)

func TestWrap(t *testing.T) {
	if wrap(nil, "do") != nil {
		t.Error("no error became one")
	}
	for name, test := range map[string]struct {
		err  error
		is   error
		lost bool
	}{
		"refused":   {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, ErrEngineUnreachable, true},
		"broken":    {fmt.Errorf("read: %w", io.ErrUnexpectedEOF), ErrEngineUnreachable, true},
		"reset":     {syscall.ECONNRESET, ErrEngineUnreachable, true},
		"not there": {fmt.Errorf("%w: x", cerrdefs.ErrNotFound), ErrNoContainer, false},
		"network":   {fmt.Errorf("%w: network 75a6 not found", cerrdefs.ErrNotFound), ErrNetworkMissing, false},
		"remains":   {errors.New("failed to start shim: mkdir /run/task/moby/" + strings.Repeat("0a", 32) + ": file exists: unknown"), ErrContainerStuck, false},
		"a task":    {errors.New("task " + strings.Repeat("0a", 32) + ": already exists"), ErrContainerStuck, false},
		"remains 2": {errors.New("OCI runtime create failed: container with id exists: 0a: unknown"), ErrContainerStuck, false},
		"remains 3": {errors.New("runc create failed: container with given ID already exists"), ErrContainerStuck, false},
		"cancelled": {context.Canceled, context.Canceled, false},
		"late":      {context.DeadlineExceeded, context.DeadlineExceeded, false},
		"other":     {io.ErrShortWrite, io.ErrShortWrite, false},
	} {
		err := wrapContainer(test.err, "start container %s", "c")
		if !errors.Is(err, test.is) || IsUnreachable(err) != test.lost || !strings.HasPrefix(err.Error(), "start container c: ") {
			t.Errorf("%s: %v", name, err)
		}
		again := wrap(err, "feed")
		if !errors.Is(again, test.is) || IsUnreachable(again) != test.lost || hint.Of(again) != hint.Of(err) {
			t.Errorf("%s, wrapped again: %v", name, again)
		}
	}
}

func TestPortTaken(t *testing.T) {
	for message, port := range map[string]string{
		"driver failed: Bind for 127.0.0.1:5432 failed: port is already allocated":                                                          "5432",
		"Error starting userland proxy: listen tcp4 127.0.0.1:5432: bind: address already in use":                                           "5432",
		"failed to bind host port for 127.0.0.1:5432:172.18.0.2:80/tcp: address already in use":                                             "5432",
		"failed to bind host port 127.0.0.1:5432/tcp: address already in use":                                                               "5432",
		"ports are not available: exposing port TCP 127.0.0.1:5432 -> 127.0.0.1:0: listen tcp 127.0.0.1:5432: bind: address already in use": "5432",
		"no such file or directory": "",
	} {
		err := wrap(errors.New(message), "start")
		var taken *PortError
		if errors.As(err, &taken) != (port != "") || port != "" && taken.Port != port {
			t.Errorf("%s: %v", message, err)
		}
	}
}
