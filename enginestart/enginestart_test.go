package enginestart

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"minibot/hint"
	"minibot/stack"
)

// mac is a machine with programs and applications below a folder of its own.
func mac(t *testing.T, dir string, programs ...string) Machine {
	t.Helper()
	for _, name := range programs {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, ".app") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return Machine{GOOS: "darwin", Path: []string{"relative", filepath.Join(dir, "bin")}, Open: "/usr/bin/open",
		Applications: []string{filepath.Join(dir, "Applications")}, Units: []string{filepath.Join(dir, "units")}}
}

func places(dir string) []stack.Candidate {
	at := func(product, socket string) stack.Candidate {
		return stack.Candidate{Host: "unix://" + filepath.Join(dir, socket), From: product, Product: product}
	}
	return []stack.Candidate{at(stack.DockerDesktop, "desktop/docker.sock"), at(stack.OrbStack, "orb/docker.sock"),
		at(stack.Colima, "colima/default/docker.sock"), at(stack.RootlessDocker, "run/docker.sock"), {Host: "unix:///var/run/docker.sock", From: "the system's socket"}}
}

func TestChoose(t *testing.T) {
	named := func(c stack.Candidate) []stack.Candidate {
		c.Chosen = true
		if c.From == "" {
			c.From = "DOCKER_HOST"
		}
		return []stack.Candidate{c}
	}
	for name, tt := range map[string]struct {
		goos     string
		programs []string
		used     string            // the socket that was made last
		places   []stack.Candidate // nil: nobody named one
		want     string            // the command, its folder as DIR; "" and no error text: cannot
		err      string
	}{
		"Docker Desktop":              {"darwin", []string{"Applications/Docker.app"}, "", nil, "/usr/bin/open -g -a Docker", ""},
		"OrbStack":                    {"darwin", []string{"Applications/OrbStack.app"}, "", nil, "/usr/bin/open -g -a OrbStack", ""},
		"OrbStack's program":          {"darwin", []string{"Applications/OrbStack.app", "bin/orb"}, "", nil, "DIR/bin/orb start", ""},
		"Colima":                      {"darwin", []string{"bin/colima"}, "", nil, "DIR/bin/colima start", ""},
		"all of them":                 {"darwin", []string{"Applications/Docker.app", "bin/orb", "bin/colima"}, "", nil, "/usr/bin/open -g -a Docker", ""},
		"the one that was used last":  {"darwin", []string{"Applications/Docker.app", "bin/orb", "bin/colima"}, "orb/docker.sock", nil, "DIR/bin/orb start", ""},
		"nothing":                     {"darwin", nil, "orb/docker.sock", nil, "", "neither Docker Desktop, OrbStack nor Colima"},
		"rootless":                    {"linux", []string{"units/docker.service", "bin/systemctl", "bin/colima"}, "", nil, "DIR/bin/systemctl --user start docker", ""},
		"Docker Desktop for Linux":    {"linux", []string{"units/docker-desktop.service", "bin/systemctl"}, "", nil, "DIR/bin/systemctl --user start docker-desktop", ""},
		"Linux without either":        {"linux", []string{"bin/colima", "bin/systemctl"}, "", nil, "", "for an administrator"},
		"without systemd":             {"linux", []string{"units/docker.service"}, "", nil, "", "for an administrator"},
		"a named profile":             {"darwin", []string{"Applications/Docker.app", "bin/colima"}, "", named(stack.Candidate{Product: stack.Colima, Profile: "work"}), "DIR/bin/colima start --profile work", ""},
		"a named product alone":       {"darwin", []string{"Applications/Docker.app"}, "", named(stack.Candidate{Product: stack.OrbStack}), "", "that DOCKER_HOST names: no program of OrbStack"},
		"an engine elsewhere":         {"darwin", []string{"Applications/Docker.app"}, "", named(stack.Candidate{Host: "tcp://10.0.0.1:2376"}), "", "that DOCKER_HOST names"},
		"a context of something else": {"darwin", []string{"Applications/Docker.app", "bin/orb"}, "", named(stack.Candidate{Host: "ssh://x", From: `the current context "x"`}), "", `that the current context "x" names`},
		"a torn configuration":        {"darwin", []string{"Applications/Docker.app"}, "", named(stack.Candidate{From: "config.json", Err: os.ErrInvalid}), "", "that config.json names"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := mac(t, dir, tt.programs...)
			m.GOOS = tt.goos
			if tt.used != "" {
				mac(t, dir, tt.used)
			}
			list := tt.places
			if list == nil {
				list = places(dir)
			}
			c, err := m.Choose(list)
			if got := strings.ReplaceAll(strings.Join(c.Argv, " "), dir, "DIR"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if (err != nil) != (tt.err != "") || err != nil && (!errors.Is(err, ErrCannot) || !strings.Contains(err.Error(), tt.err) || hint.Of(err) == "") {
				t.Errorf("%v, hint %q", err, hint.Of(err))
			}
		})
	}
}

// Stand-ins for what stack says of the machine that the test runs on: the list holds for every product.
func TestThisMachine(t *testing.T) {
	m, err := ThisMachine()
	if err != nil {
		t.Fatal(err)
	}
	if m.Open != "/usr/bin/open" || !slices.Contains(m.Path, "/opt/homebrew/bin") || m.program("sh") == "" || m.program("no-such-program") != "" {
		t.Errorf("%+v", m)
	}
}

// absent is an engine that comes and goes.
type absent struct {
	is      bool
	changed chan struct{}
}

func (a *absent) set(is bool) {
	a.is = is
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *absent) await(ctx context.Context, want bool) error {
	for a.is != want {
		select {
		case <-a.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// TestAttempts lives through absences of an engine.
func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		engine := &absent{changed: make(chan struct{})}
		began := time.Now()
		var tried, said []string
		var refuse, fail error
		takes := time.Second
		s := &Starter{Machine: mac(t, dir, "bin/orb"), Places: func() ([]stack.Candidate, error) { return places(dir), nil },
			Await: engine.await, Refuse: func() error { return refuse },
			Run: func(_ context.Context, c Command) error {
				tried = append(tried, c.String()+" at "+time.Since(began).Round(time.Second).String())
				timer := time.NewTimer(takes)
				<-timer.C
				return fail
			},
			Say: func(message string, err error) {
				if err != nil {
					message = err.Error() + " (" + hint.Of(err) + ")"
				}
				said = append(said, message)
			}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.Serve(ctx) }()
		after := func(d time.Duration, want ...string) {
			t.Helper()
			timer := time.NewTimer(d - time.Since(began))
			<-timer.C
			synctest.Wait()
			if !slices.Equal(tried, want) {
				t.Errorf("until %v tried %q, want %q", d, tried, want)
			}
			tried = nil
		}
		minutes := func(list ...int) (want []string) {
			for _, m := range list {
				want = append(want, "orb start at "+(time.Duration(m)*time.Minute).String())
			}
			return want
		}
		after(0)
		engine.set(true)
		after(46*time.Minute, minutes(0, 1, 5, 15, 30, 45)...)
		if len(said) != 6 || said[1] != "no engine answers: starting OrbStack with `orb start`, attempt 2" {
			t.Errorf("%q", said)
		}
		engine.set(false)
		after(100 * time.Minute)
		began, said, fail, takes = time.Now(), nil, errors.New("exit status 1"), 7*time.Minute // longer than the pauses
		engine.set(true)
		after(31*time.Minute, minutes(0, 15, 30)...)
		if got := strings.Join(said, "\n"); strings.Count(got, "start OrbStack: exit status 1 (run `orb start` and see what it says)") != 1 {
			t.Errorf("%s", got) // once for all attempts
		}
		engine.set(false) // in the middle of an attempt, which goes on
		after(60 * time.Minute)
		began, said, refuse, fail, takes = time.Now(), nil, errors.New("locked down"), nil, time.Second
		engine.set(true)
		after(20*time.Minute + 30*time.Second)
		refuse = nil
		after(40*time.Minute, minutes(21, 30)...)
		if !slices.Equal(said[:1], []string{"locked down ()"}) || len(said) != 3 {
			t.Errorf("%q", said)
		}
		cancel()
		<-ended
	})
}

func standIn(t *testing.T, script string) Command {
	t.Helper()
	path := filepath.Join(t.TempDir(), "orb")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return Command{Product: stack.OrbStack, Argv: []string{path, "start", "a b", "$HOME;"}}
}

func TestExecute(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	t.Setenv("OUT", out)
	// no shell reads the arguments, the session is its own, and nothing that it prints comes back
	c := standIn(t, `printf '%s|' "$@" > "$OUT"; cut -d' ' -f1,6 /proc/$$/stat >> "$OUT"; echo canary; echo canary >&2; exit 3`)
	err := Execute(t.Context(), c)
	if err == nil || err.Error() != "exit status 3" {
		t.Errorf("%v", err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	arguments, ids, _ := strings.Cut(string(text), "$HOME;|")
	pid, session, _ := strings.Cut(strings.TrimSpace(ids), " ")
	if arguments != "start|a b|" || pid == "" || pid != session {
		t.Errorf("%q", text)
	}
	if err := Execute(t.Context(), Command{Argv: []string{"/no/such/program"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := Execute(t.Context(), standIn(t, "exit 0")); err != nil {
		t.Errorf("%v", err)
	}
}

// At its deadline a command is killed; when the daemon ends it goes on.
func TestExecuteEnds(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	if err := syscall.Mkfifo(pids, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PIDS", pids)
	c := standIn(t, `echo $$ > "$PIDS"; exec tail -f /dev/null`)
	pid := func() int {
		t.Helper()
		text, err := os.ReadFile(pids) // waits for the stand-in
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Execute(ctx, c) }()
	killed := pid()
	if err := <-done; !errors.Is(err, errTooLong) {
		t.Errorf("%v", err)
	}
	if err := syscall.Kill(killed, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("after the deadline: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	go func() { done <- Execute(ctx, c) }()
	left := pid()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := syscall.Kill(left, syscall.SIGKILL); err != nil {
		t.Errorf("it did not go on: %v", err)
	}
}
