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
	"os"
	"os/exec"
	"strings"
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
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return database.Result{}, err
	}
	if strings.HasPrefix(errs.String(), "Error response from daemon") || strings.Contains(errs.String(), "Error: No such container") {
		return database.Result{}, errors.New("the container does not run")
	}
	return database.Result{ExitCode: c.ProcessState.ExitCode(), Stdout: out.Bytes(), Stderr: errs.Bytes()}, nil
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
