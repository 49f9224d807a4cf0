// Package enginetest runs the containers of tests that want a real database.
//
// It owns what it starts: every container has a name of its own and is removed when its test ends. It fails a test
// where no engine answers. It never touches a container that it did not start.
package enginetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"minibot/database"
)

// Engine is a [database.Container] that runs commands through the docker program; a service is its container's name.
type Engine struct{}

// Exec implements [database.Container].
func (Engine) Exec(ctx context.Context, service string, cmd []string, stdin []byte) (database.Result, error) {
	c := exec.CommandContext(ctx, "docker", append([]string{"exec", "-i", service}, cmd...)...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(stdin), &out, &errs
	return result(c, c.Run(), out.Bytes(), errs.Bytes())
}

// result is how a run of the docker program ended, whose own failures are errors.
func result(c *exec.Cmd, err error, stdout, stderr []byte) (database.Result, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return database.Result{}, err
	}
	if bytes.HasPrefix(stderr, []byte("Error response from daemon")) || bytes.Contains(stderr, []byte("Error: No such container")) {
		return database.Result{}, errors.New("the container does not run")
	}
	return database.Result{ExitCode: c.ProcessState.ExitCode(), Stdout: stdout, Stderr: stderr}, nil
}

// Open implements [database.Opener].
func (Engine) Open(ctx context.Context, service string, cmd []string) (database.Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &session{cmd: exec.Command("docker", append([]string{"exec", "-i", service}, cmd...)...)} //nolint:noctx // it outlives ctx
	var errs [2]error
	s.in, errs[0] = s.cmd.StdinPipe()
	s.out, errs[1] = s.cmd.StdoutPipe()
	s.cmd.Stderr = &s.stderr
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return s, s.cmd.Start()
}

type session struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	stderr bytes.Buffer
	wait   sync.Once
	err    error
}

func (s *session) Write(p []byte) (int, error) { return s.in.Write(p) }
func (s *session) Read(p []byte) (int, error)  { return s.out.Read(p) }

func (s *session) Wait(context.Context) (database.Result, error) {
	s.wait.Do(func() { s.err = s.cmd.Wait() })
	return result(s.cmd, s.err, nil, s.stderr.Bytes())
}

// Close kills the docker program: the engine then ends the command's input.
func (s *session) Close() error {
	err := s.cmd.Process.Kill()
	s.wait.Do(func() { s.err = s.cmd.Wait() })
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return err
}

// Image is the image that an environment variable names, or fallback.
func Image(variable, fallback string) string {
	if s := os.Getenv(variable); s != "" {
		return s
	}
	return fallback
}

// Docker runs the docker program and returns its output, trimmed; a failure fails the test.
func Docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", args[0], err, out)
	}
	return strings.TrimSpace(string(out))
}

// Start runs a container with the given arguments of docker run and returns its name.
func Start(t testing.TB, args ...string) string {
	t.Helper()
	name := "minibot-test-" + strings.ToLower(rand.Text()[:10])
	t.Cleanup(func() {
		_ = exec.Command("docker", "rm", "-f", "-v", name).Run() //nolint:noctx // the test's context has ended; absent when it never started
	})
	Docker(t, append([]string{"run", "-d", "--name", name}, args...)...)
	return name
}

// Port is the port on 127.0.0.1 at which a port of a container is published. It may be another after a restart.
func Port(t testing.TB, name, port string) string {
	t.Helper()
	all := strings.Split(Docker(t, "port", name, port), "\n")
	return all[0][strings.LastIndex(all[0], ":")+1:]
}
