package security

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// maxOutput bounds each output of the program in bytes: some 50,000 items of a keychain.
const maxOutput = 64 << 20

// killDelay is how long a killed child's outputs are waited for when something else holds them open.
const killDelay = time.Second

// environment is what the program needs: whose keychains, and no language.
func environment() []string {
	env := []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C"}
	for _, name := range []string{"HOME", "USER", "LOGNAME"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// run has the program carry out lines, and clears them. At the end of ctx the
// program and what it has started are killed, and waited for. An exit status other than 0 is no error here.
func (s *Store) run(ctx context.Context, lines ...[]byte) (*answer, error) {
	if ctx.Err() != nil {
		return nil, late(ctx)
	}
	input := bytes.Join(lines, nil)
	defer clear(input)
	for _, line := range lines {
		clear(line)
	}
	stdout, stderr := &limited{left: maxOutput}, &limited{left: maxOutput}
	cmd := exec.CommandContext(ctx, s.program, "-i")
	cmd.Dir, cmd.Env = "/", s.env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killDelay
	err := cmd.Run()
	a := &answer{stdout: stdout.buffer.Bytes(), stderr: stderr.buffer.Bytes()}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return a, nil
	case ctx.Err() != nil:
		a.clear()
		return nil, late(ctx)
	case errors.As(err, &exit) && exit.Exited():
		a.exit = exit.ExitCode()
		return a, nil
	}
	a.clear()
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		err = fmt.Errorf("%w: %s cannot be run: %w", secrets.ErrUnavailable, s.program, err)
		return nil, hint.Wrap(err, "this store is for macOS; name another one in config.toml, such as store = \"age\"")
	case exit != nil:
		return nil, broken("it was ended by a signal")
	}
	return nil, broken("its output could not be read")
}

// late says why ctx has ended: nobody answered, or the caller left.
func late(ctx context.Context) error {
	if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	err := fmt.Errorf("%w: /usr/bin/security has not answered: %w", secrets.ErrDenied, context.DeadlineExceeded)
	return hint.Wrap(err, "answer the dialog on the Mac's desktop, with Always Allow, and try again; or unlock the keychain: security unlock-keychain")
}

// broken is the answer when the program does not behave as the store knows it.
func broken(how string) error {
	return hint.Wrap(fmt.Errorf("%w: /usr/bin/security did not do what it was asked: %s", secrets.ErrUnavailable, how),
		"see what security list-keychains prints; if that is well, try again")
}

var errTooMuch = errors.New("too much output")

// limited is a buffer that takes so many bytes more.
type limited struct {
	buffer bytes.Buffer // not embedded: its ReadFrom would go past Write
	left   int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errTooMuch
	}
	return l.buffer.Write(p)
}
