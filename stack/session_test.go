package stack

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

const onlyA = "services: { a: { image: IMAGE, entrypoint: SLEEP } }\n"

// session starts a script in service a that runs.
func (r *rig) session(ctx context.Context, script string) *Session {
	r.Helper()
	s, err := r.engine.Stream(ctx, r.container("a").ID, []string{"/bin/sh", "-c", script}, "1000")
	r.must(err)
	return s
}

func (r *rig) line(b *bufio.Reader) string {
	r.Helper()
	line, err := b.ReadString('\n')
	r.must(err)
	return strings.TrimSuffix(line, "\n")
}

func TestSessionIsFedInSteps(t *testing.T) {
	r := newRig(t, onlyA)
	r.create()
	if _, err := r.engine.Stream(t.Context(), r.container("a").ID, []string{"true"}, ""); err == nil || !strings.Contains(err.Error(), r.name+"-a-1") {
		t.Errorf("in a container that does not run: %v", err)
	}
	r.start("a")
	s := r.session(t.Context(), `while read -r l; do echo "got $l"; done; id -u; echo last; echo trouble >&2; exit 4`)
	out := bufio.NewReaderSize(s, 16)
	for _, step := range []string{"one", "two"} {
		_, err := io.WriteString(s, step+"\n")
		r.must(err)
		r.equal("answer", r.line(out), "got "+step)
	}
	r.must(s.CloseWrite())
	r.equal("user", r.line(out), "1000")
	r.equal("last line", r.line(out), "last")
	if _, err := out.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	result, err := s.Wait(t.Context())
	r.must(err)
	r.equal("exit code", result.ExitCode, 4)
	r.equal("stderr", string(result.Stderr), "trouble\n")
	r.must(s.Close())
	r.must(s.Close())
}

func TestSessionWaitReturnsWhatWasNotRead(t *testing.T) {
	r := newRig(t, onlyA)
	r.create()
	r.start("a")
	s := r.session(t.Context(), "echo rest; head -c 3000000 /dev/zero; exit 3")
	result, err := s.Wait(t.Context())
	r.must(err)
	r.equal("exit code", result.ExitCode, 3)
	if len(result.Stdout) != maxOutput || !strings.HasPrefix(string(result.Stdout), "rest\n") {
		t.Errorf("%d bytes", len(result.Stdout))
	}
	if _, err := s.Write([]byte("x")); err == nil {
		t.Error("wrote to a command that ended")
	}
}

func TestSessionEndsTheInputOfItsCommand(t *testing.T) {
	r := newRig(t, onlyA)
	r.create()
	r.start("a")
	const script = "echo up; cat >/dev/null; touch /tmp/"
	t.Run("closed", func(t *testing.T) {
		s := r.session(t.Context(), script+"closed")
		r.equal("line", r.line(bufio.NewReader(s)), "up")
		r.must(s.Close())
		if _, err := s.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("read after close: %v", err)
		}
		if _, err := s.Wait(t.Context()); err == nil {
			t.Error("a closed session has an exit code")
		}
	})
	t.Run("context of the session ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := r.session(ctx, script+"cancelled")
		out := bufio.NewReader(s)
		r.equal("line", r.line(out), "up")
		cancel()
		if _, err := out.ReadByte(); !errors.Is(err, context.Canceled) {
			t.Errorf("read: %v", err)
		}
		r.must(s.Close())
	})
	t.Run("context of the wait ended", func(t *testing.T) {
		s := r.session(t.Context(), script+"waited")
		r.equal("line", r.line(bufio.NewReader(s)), "up")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("wait: %v", err)
		}
		r.must(s.Close())
	})
	r.eventually("all three saw their input end", func() bool { return r.sh("a", "ls /tmp") == "cancelled\nclosed\nwaited" })
}
