package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// Exec is a command to run inside a running container. Values go in on Stdin only.
type Exec struct {
	Cmd   []string
	User  string // "" is the container's own
	Stdin []byte
}

// ExecResult is how it ended. Stdout and Stderr keep the first MiB each.
type ExecResult struct {
	ExitCode       int
	Stdout, Stderr []byte
}

const maxOutput = 1 << 20

// Exec runs a command and waits for its end; an exit code other than 0 is no error. When ctx ends it returns at
// once, while the command may go on inside the container: the engine has no call to end it.
func (e *Engine) Exec(ctx context.Context, id string, x Exec) (ExecResult, error) {
	s, err := e.attach(ctx, id, container.ExecOptions{User: x.User, Cmd: x.Cmd, AttachStdin: len(x.Stdin) > 0})
	if err != nil {
		return ExecResult{}, e.runError(ctx, err, x.Cmd[0], id)
	}
	sent := make(chan struct{})
	go func() { // ends with the connection at the latest
		defer close(sent)
		if len(x.Stdin) == 0 {
			return
		}
		// A command that does not read to the end breaks the pipe; its exit code tells more than that.
		_, _ = s.Write(x.Stdin)
		_ = s.CloseWrite()
	}()
	result, err := s.Wait(ctx)
	<-sent
	return result, err
}

// exitCode asks for a command's exit code; its output may end a moment before the engine knows it.
func (e *Engine) exitCode(ctx context.Context, execID string) (int, error) {
	for delay := time.Millisecond; ; delay = min(2*delay, 100*time.Millisecond) {
		state, err := e.docker.ContainerExecInspect(ctx, execID)
		if err != nil {
			return 0, err
		}
		if !state.Running {
			return state.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(delay):
		}
	}
}

// bounded keeps the first maxOutput bytes and drops the rest. It hides the buffer's ReadFrom, which would keep all.
type bounded struct{ kept bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxOutput - b.kept.Len(); room > 0 {
		b.kept.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (b *bounded) Bytes() []byte { return b.kept.Bytes() }

// LogOptions says which part of a log is wanted.
type LogOptions struct {
	Tail       int // the last lines; 0 means all
	Follow     bool
	Timestamps bool
	Since      time.Time // zero means from the beginning
	Until      time.Time // zero means to the end; Tail counts from the end all the same
}

// Logs writes a container's output, standard output and error in the engine's order, to w; with Follow until the
// container stops or ctx ends, which is no error then.
func (e *Engine) Logs(ctx context.Context, id string, o LogOptions, w io.Writer) error {
	options := container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: o.Follow, Timestamps: o.Timestamps}
	if o.Tail > 0 {
		options.Tail = fmt.Sprint(o.Tail)
	}
	if !o.Since.IsZero() {
		options.Since = o.Since.Format(time.RFC3339Nano)
	}
	if !o.Until.IsZero() {
		options.Until = o.Until.Format(time.RFC3339Nano)
	}
	info, err := e.docker.ContainerInspect(ctx, id)
	if err != nil {
		return wrapContainer(err, "inspect container %s", shortID(id))
	}
	body, err := e.docker.ContainerLogs(ctx, id, options)
	if err == nil {
		if info.Config.Tty {
			_, err = io.Copy(w, body)
		} else {
			_, err = stdcopy.StdCopy(w, w, body)
		}
		err = errors.Join(err, body.Close())
	}
	if o.Follow && ctx.Err() != nil {
		err = nil
	}
	return e.wrapNamed(ctx, err, "read the log of", id)
}
