package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/console"
	"minibot/control"
	"minibot/hint"
)

// fakeDaemon answers what a test gives it. It has no secrets.
type fakeDaemon struct {
	control.SecretsBackend
	status control.Status
	events []control.Event
	log    string // "": what it was asked for
	audit  []control.AuditLine
	kept   *control.EventLog // in place of events
}

func (f *fakeDaemon) Status(context.Context) (control.Status, error) { return f.status, nil }

func (f *fakeDaemon) Operate(_ context.Context, op control.Operation, report func(control.Progress)) error {
	switch op.Service {
	case "absent":
		return control.ErrUsage
	case "sick":
		return hint.Wrap(errors.New("service sick is degraded"), "minibotd logs sick")
	}
	report(control.Progress{Service: op.Service, Message: string(op.Verb) + " \x1b[31mgoes on"})
	report(control.Progress{Service: op.Service, Message: fmt.Sprint(op.Verb, " ", op.Seconds)})
	return nil
}

func (f *fakeDaemon) Audit(_ context.Context, report func(control.AuditLine) error) error {
	for _, line := range f.audit {
		if line.Error != nil {
			return line.Error
		}
		if err := report(line); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeDaemon) Events(ctx context.Context, q control.EventQuery, yield func(control.Event) error) error {
	if f.kept != nil {
		if err := q.CheckNames(ctx, nil, eventKinds, f.kept.Read); err != nil {
			return err
		}
		return f.kept.Read(ctx, q, yield)
	}
	for _, e := range f.events {
		if err := yield(e); err != nil {
			return err
		}
	}
	if q.Follow {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (f *fakeDaemon) Logs(_ context.Context, service string, follow bool, tail int, w io.Writer) error {
	if f.log != "" {
		_, err := io.WriteString(w, f.log)
		return err
	}
	_, err := fmt.Fprintf(w, "log of %q, follow %v, tail %d\n", service, follow, tail)
	return err
}

// serve runs a fake daemon below a home of its own and makes that home the environment's.
func serve(t *testing.T, f *fakeDaemon) {
	t.Helper()
	home, err := os.MkdirTemp("", "mb-") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) }) // in the temporary folder
	t.Setenv("MINIBOT_HOME", home)
	listener, err := control.Listen(filepath.Join(home, "run", "minibotd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- (&control.Server{Backend: f, Record: func(control.Event) error { return nil }}).Serve(ctx, listener)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// command runs one command line.
func command(ctx context.Context, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = run(ctx, args, console.New(strings.NewReader(""), &stdout, &stderr))
	return code, stdout.String(), stderr.String()
}

var sampleTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.Local)

func TestCommandsOfARunningDaemon(t *testing.T) {
	serve(t, &fakeDaemon{
		status: control.Status{Phase: control.PhaseHealthy, Since: time.Now(), Services: []control.Service{{Name: "redis"}, {Name: "postgres"}}},
		events: []control.Event{
			{Seq: 1, Time: sampleTime, Kind: "phase", Message: "healthy"},
			{Seq: 2, Time: sampleTime, Kind: "unhealthy", Service: "redis", Message: "line\nwith \x1b[31m"},
			{Seq: 3, Time: sampleTime, Kind: "secret", Secret: "REDIS_PASSWORD", Message: "a < b"},
		},
	})
	for _, test := range []struct {
		args      string
		code      int
		out, errs string // errs only has to be contained
	}{
		{"events", 0, "2026-03-04 05:06:07  phase                    healthy\n" +
			"2026-03-04 05:06:07  unhealthy   redis        line\\nwith \\x1b[31m\n" +
			"2026-03-04 05:06:07  secret      REDIS_PASSWORD a < b\n", ""},
		{"logs", 0, "log of \"\", follow false, tail 100\n", ""},
		{"logs redis --tail 0 -f", 0, "log of \"redis\", follow true, tail 0\n", ""},
		{"reload", 0, "", "reload \\x1b[31mgoes on"},
		{"restart redis", 0, "", " s  redis      restart"},
		{"stop", 0, "", "stop"},
		{"pause redis --for 30m", 0, "", "pause 1800"},
		{"pause redis --for 7d", 0, "", "pause 604800"},
		{"resume redis", 0, "", "resume 0"},
		{"start sick", 1, "", "error: service sick is degraded\n  hint: minibotd logs sick\n"},
		{"__complete restart r", 0, "redis\n:4\n", ""},
		{"__complete pause r", 0, "redis\n:4\n", ""},
		{"__complete resume p", 0, "postgres\n:4\n", ""},
		{"version", 0, "minibotd dev\n", ""},
		{"completion bash", 0, "", ""},
	} {
		t.Run(test.args, func(t *testing.T) {
			code, out, errs := command(t.Context(), strings.Fields(test.args)...)
			if code != test.code || !strings.Contains(errs, test.errs) {
				t.Errorf("code %d, want %d; stderr %q, want %q", code, test.code, errs, test.errs)
			}
			if !strings.HasPrefix(test.args, "completion") && out != test.out {
				t.Errorf("got %q\nwant %q", out, test.out)
			}
		})
	}
}

func TestEventsAsJSON(t *testing.T) {
	serve(t, &fakeDaemon{events: []control.Event{{Seq: 7, Time: sampleTime.UTC(), Kind: "heal", Service: "redis", Message: "<unhealthy>", LatencyMS: 1.5}}})
	code, out, errs := command(t.Context(), "events", "--json")
	want := fmt.Sprintf(`{"seq":7,"time":%q,"kind":"heal","service":"redis","message":"<unhealthy>","latency_ms":1.5}`+"\n", sampleTime.UTC().Format(time.RFC3339))
	if code != 0 || out != want {
		t.Errorf("code %d, %s\ngot  %swant %s", code, errs, out, want)
	}
}

func TestFollowingEndsQuietly(t *testing.T) {
	serve(t, &fakeDaemon{events: []control.Event{{Seq: 1, Time: sampleTime, Kind: "phase", Message: "healthy"}}})
	ctx, cancel := context.WithCancel(t.Context())
	out := &firstLine{seen: cancel}
	var errs bytes.Buffer
	if code := run(ctx, []string{"events", "-f"}, console.New(strings.NewReader(""), out, &errs)); code != 130 || errs.Len() > 0 {
		t.Errorf("code %d, %q", code, errs.String())
	}
}

// firstLine calls seen when something is written.
type firstLine struct{ seen func() }

func (f *firstLine) Write(p []byte) (int, error) {
	f.seen()
	return len(p), nil
}

func TestMistakesInACommandLine(t *testing.T) {
	t.Setenv("MINIBOT_HOME", t.TempDir())
	for _, test := range []struct {
		args string
		code int
		errs string
	}{
		{"nonsense", 2, "error: there is no such command\n  hint: minibotd --help lists the commands\n"},
		{"status now", 2, "error: status takes no argument\n  hint: minibotd status --help\n"},
		{"run fast", 2, "hint: minibotd run --help"},
		{"restart", 2, "error: restart takes one SERVICE\n  hint: minibotd restart --help\n"},
		{"stop a b", 2, "minibotd stop --help"},
		{"pause", 2, "error: pause takes one SERVICE\n  hint: minibotd pause --help\n"},
		{"pause redis", 2, "error: pause wants --for, such as --for 30m\n"},
		{"pause redis --for soon", 2, "--for wants a time between 1s and 7d"},
		{"pause redis --for 0s", 2, "--for wants a time between 1s and 7d"},
		{"pause redis --for 8d", 2, "--for wants a time between 1s and 7d"},
		{"pause redis --for 168h1s", 2, "--for wants a time between 1s and 7d"},
		{"pause redis --for -1d", 2, "--for wants a time between 1s and 7d"},
		{"status --no-such-flag", 2, "error: unknown flag: --no-such-flag\n  hint: minibotd status --help\n"},
		{"logs --tail=-1", 2, "--tail"},
		{"status", 6, "hint: minibotd is not running: start it with"},
		{"reload", 6, "cannot reach minibotd"},
	} {
		if code, out, errs := command(t.Context(), strings.Fields(test.args)...); code != test.code || !strings.Contains(errs, test.errs) || out != "" {
			t.Errorf("%s: code %d, want %d\nstdout %q\nstderr %q\nwant   %q", test.args, code, test.code, out, errs, test.errs)
		}
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	root := (&commands{io: console.New(strings.NewReader(""), io.Discard, io.Discard)}).root()
	for _, cmd := range append(root.Commands(), root) {
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" || cmd.Args == nil {
			t.Errorf("%s lacks a Short, a Long, an Example or Args", cmd.Name())
		}
		if !strings.HasPrefix(cmd.Example, "  ") {
			t.Errorf("%s: the example is not indented", cmd.Name())
		}
	}
	code, out, _ := command(t.Context())
	if code != 0 || !strings.Contains(out, "Exit codes") || !strings.Contains(out, "completion") {
		t.Errorf("without a command: code %d\n%s", code, out)
	}
}
