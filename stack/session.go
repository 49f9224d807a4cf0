package stack

import (
	"context"
	"io"
	"net"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// Session is a command that runs inside a container and is fed in steps. Write and Read may be used at the same time;
// each of them by one goroutine. It ends with Close, which must be called.
//
// Whatever drops the connection, also the death of this process, ends the command's standard input, and nothing else:
// a command that reads to the end of it ends by itself.
type Session struct {
	engine    *Engine
	container string
	id        string // the engine's, of the exec
	program   string
	conn      types.HijackedResponse
	stdout    *io.PipeReader
	feed      *io.PipeWriter // the other end of stdout
	copied    chan struct{}  // closed when the output has ended
	stderr    bounded        // to be read after copied
	unhook    func() bool
}

// Stream runs a command inside a running container, with its standard input open. Values go in there only. user "" is
// the container's own. The connection is dropped when ctx ends.
func (e *Engine) Stream(ctx context.Context, id string, cmd []string, user string) (*Session, error) {
	s, err := e.attach(ctx, id, container.ExecOptions{User: user, Cmd: cmd, AttachStdin: true})
	if err != nil {
		return nil, e.runError(ctx, err, cmd[0], id)
	}
	s.unhook = context.AfterFunc(ctx, func() { s.drop(ctx.Err()) })
	return s, nil
}

// Write gives the command more of its standard input. After its end it fails; Wait says how it ended.
func (s *Session) Write(p []byte) (int, error) { return s.conn.Conn.Write(p) }

// CloseWrite ends the command's standard input.
func (s *Session) CloseWrite() error { return s.conn.CloseWrite() }

// Read reads the command's standard output, as it comes; at its end it returns io.EOF. Output that nobody reads makes
// the command wait. When the Stream's ctx ends, it returns the ctx's error.
func (s *Session) Read(p []byte) (int, error) { return s.stdout.Read(p) }

// Wait waits for the command's end and drops the connection. The result's Stdout is what had not been read, its Stderr
// all of it; they keep the first MiB each. An exit code other than 0 is no error. When ctx ends it returns at once.
func (s *Session) Wait(ctx context.Context) (ExecResult, error) {
	result, err := s.wait(ctx)
	if err != nil {
		return ExecResult{}, s.engine.runError(ctx, err, s.program, s.container)
	}
	return result, nil
}

func (s *Session) wait(ctx context.Context) (ExecResult, error) {
	defer context.AfterFunc(ctx, func() { s.drop(ctx.Err()) })()
	var stdout bounded
	_, err := io.Copy(&stdout, s.stdout)
	s.drop(net.ErrClosed)
	<-s.copied
	if err != nil {
		return ExecResult{}, err
	}
	code, err := s.engine.exitCode(ctx, s.id)
	return ExecResult{ExitCode: code, Stdout: stdout.Bytes(), Stderr: s.stderr.Bytes()}, err
}

// Close drops the connection, if it still stands, and with it the command's standard input. It does not wait for the
// command's end. It may be called more than once.
func (s *Session) Close() error {
	if s.unhook != nil {
		s.unhook()
	}
	s.drop(net.ErrClosed)
	<-s.copied
	return nil
}

// drop ends the connection; whoever reads gets cause, unless the output had ended before.
func (s *Session) drop(cause error) {
	_ = s.feed.CloseWithError(cause) // never fails
	s.conn.Close()
}

// attach starts a command, with its output attached, and its input where options say so.
func (e *Engine) attach(ctx context.Context, id string, options container.ExecOptions) (*Session, error) {
	options.AttachStdout, options.AttachStderr = true, true
	created, err := e.docker.ContainerExecCreate(ctx, id, options)
	if err != nil {
		return nil, err
	}
	conn, err := e.hijack(ctx, created.ID)
	if err != nil {
		return nil, err
	}
	s := &Session{engine: e, container: id, id: created.ID, program: options.Cmd[0], conn: conn, copied: make(chan struct{})}
	s.stdout, s.feed = io.Pipe()
	go func() { // ends with the connection at the latest
		defer close(s.copied)
		_, err := stdcopy.StdCopy(s.feed, &s.stderr, conn.Reader)
		_ = s.feed.CloseWithError(err) // never fails; nil is the end
	}()
	return s, nil
}

// hijack opens the connection of an exec. The client's own call does not end when ctx does, as with an engine that
// hangs.
func (e *Engine) hijack(ctx context.Context, exec string) (types.HijackedResponse, error) {
	type answer struct {
		conn types.HijackedResponse
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		conn, err := e.docker.ContainerExecAttach(ctx, exec, container.ExecAttachOptions{})
		answered <- answer{conn, err}
	}()
	select {
	case a := <-answered:
		return a.conn, a.err
	case <-ctx.Done():
		go func() {
			if late := <-answered; late.err == nil {
				late.conn.Close()
			}
		}()
		return types.HijackedResponse{}, ctx.Err()
	}
}

// runError gives the error of a command its context.
func (e *Engine) runError(ctx context.Context, err error, program, id string) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return e.wrapNamed(ctx, err, "run "+program+" in", id)
}
