package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"minibot/console"
	"minibot/control"
	"minibot/secrets"
	"minibot/secrets/stores"
	"minibot/stack"
)

// securityVariable names the stand-in for macOS's security in the environment of a test's mb-secrets.
const securityVariable = "MB_SECRETS_TEST_SECURITY"

func TestMain(m *testing.M) {
	testscript.Main(sessionless{m}, map[string]func(){"mb-secrets": testMain})
}

// sessionless runs tests without the session of whoever runs them, who has a keyring there.
type sessionless struct{ *testing.M }

func (s sessionless) Run() int {
	if err := os.Unsetenv("DBUS_SESSION_BUS_ADDRESS"); err != nil {
		panic(err)
	}
	return s.M.Run()
}

// testMain is main with a security program of the test's.
func testMain() {
	a := &app{
		io: console.New(os.Stdin, os.Stdout, os.Stderr), patience: daemonPatience, choose: stores.Choose, security: os.Getenv(securityVariable),
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(a.hardened(ctx, os.Args[1:]))
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "value": value, "sealed": sealed, "daemon": daemon, "same": same, "listing": listing,
		},
	})
}

// setup gives each script a home with a compose file and nothing else.
func setup(env *testscript.Env) error {
	compose, err := os.ReadFile("testdata/compose.yaml")
	if err != nil {
		return err
	}
	home := filepath.Join(env.WorkDir, "h")
	env.Setenv("MINIBOT_HOME", home)
	env.Setenv("HOME", env.WorkDir)
	return errors.Join(os.Mkdir(home, 0o700), os.WriteFile(filepath.Join(home, "compose.yaml"), compose, 0o600))
}

// code EXIT COMMAND [ARGUMENT...] [<FILE] runs a command, checks its exit code, and that no canary shows unless get
// or exec was asked for.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code EXIT COMMAND [ARGUMENT...] [<FILE]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	var stdin []byte
	if file, ok := strings.CutPrefix(args[len(args)-1], "<"); ok {
		stdin, args = []byte(ts.ReadFile(file)), args[:len(args)-1]
	}
	path, err := exec.LookPath(args[0])
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Stdin = bytes.NewReader(stdin)
	for _, name := range []string{"PATH", "HOME", "MINIBOT_HOME", "TMPDIR", "API_KEY", "DBUS_SESSION_BUS_ADDRESS", securityVariable} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	_, _ = ts.Stdout().Write(out.Bytes()) // in memory
	_, _ = ts.Stderr().Write(errs.Bytes())
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit code %d, want %d\n%s%s", got, want, out.Bytes(), errs.Bytes())
	}
	mayShow := slices.Contains(args, "get") || slices.Contains(args, "exec")
	if !mayShow && bytes.Contains(append(out.Bytes(), errs.Bytes()...), []byte("canary")) {
		ts.Fatalf("a value shows:\n%s%s", out.Bytes(), errs.Bytes())
	}
}

// value FILE KIND makes a file that a script cannot hold.
func value(ts *testscript.TestScript, _ bool, args []string) {
	kinds := map[string]string{
		"nul":     "canary-\x00-nul-value",
		"64k":     strings.Repeat("canary64", secrets.MaxValueSize/8),
		"64k+nl":  strings.Repeat("canary64", secrets.MaxValueSize/8) + "\n",
		"64k+1":   strings.Repeat("canary64", secrets.MaxValueSize/8) + "x",
		"crlf":    "canary-crlf-value\r\n",
		"nl":      "canary-crlf-value\n",
		"bare":    "canary-crlf-value",
		"twonl":   "canary-crlf-value\n\n",
		"newline": "\n",
		"odd":     " canary 'single' \"double\" $HOME `id` \\ tab\t\nsecond line ü 日本 \xff ",
		"nulline": "API_KEY=canary-good-value\nGATEWAY_TOKEN=canary-\x00-bad\n",
	}
	text, ok := kinds[args[1]]
	if !ok {
		ts.Fatalf("no kind %s", args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// same FILE FILE compares bytes; stdout is one.
func same(ts *testscript.TestScript, neg bool, args []string) {
	if (ts.ReadFile(args[0]) == ts.ReadFile(args[1])) == neg {
		ts.Fatalf("%s and %s: equal is %v", args[0], args[1], neg)
	}
}

// sealed DIR checks that no file below DIR holds a canary.
func sealed(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("canary")) {
			ts.Fatalf("%s holds a value in plain", path)
		}
		return err
	}))
}

// listing DIR NAME... checks what is in DIR.
func listing(ts *testscript.TestScript, _ bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := args[1:]; !slices.Equal(names, want) {
		ts.Fatalf("%s holds %q, want %q", args[0], names, want)
	}
}

// daemon starts a daemon for the script's home: the real server over a store in memory.
func daemon(ts *testscript.TestScript, _ bool, _ []string) {
	home := ts.Getenv("MINIBOT_HOME")
	end, err := serveFake(home, newFakeDaemon(filepath.Join(home, "compose.yaml")))
	ts.Check(err)
	ts.Defer(func() { ts.Check(end()) })
}

// serveFake holds the lock and the socket of home until end is called.
func serveFake(home string, backend control.Backend) (end func() error, err error) {
	run := filepath.Join(home, "run")
	if err := os.MkdirAll(run, 0o700); err != nil {
		return nil, err
	}
	release, err := control.AcquireLock(context.Background(), filepath.Join(run, "minibotd.lock"))
	if err != nil {
		return nil, err
	}
	listener, err := control.Listen(filepath.Join(run, "minibotd.sock"))
	if err != nil {
		return nil, errors.Join(err, release())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- (&control.Server{Backend: backend, Record: func(control.Event) error { return nil }}).Serve(ctx, listener)
	}()
	return func() error {
		cancel()
		return errors.Join(<-done, release())
	}, nil
}

// fakeDaemon keeps secrets in memory and has no stack.
type fakeDaemon struct {
	control.StackBackend
	control.HistoryBackend
	control.AuditBackend
	local
	done  []control.Receipt // the newest last
	goOn  chan struct{}     // when set, a rotation that has adopted waits for it
	ended chan error        // and says here how it ended
}

func newFakeDaemon(compose string) *fakeDaemon {
	store := secrets.NewMemory()
	d := &fakeDaemon{local: local{
		lock: func(_ context.Context, do func() error) error { return do() },
		open: func(context.Context) (secrets.Store, error) { return store, nil },
		project: func(ctx context.Context) (*stack.Project, error) {
			return stack.Load(ctx, stack.LoadOptions{File: compose})
		},
	}}
	d.receipts = func() ([]control.Receipt, error) { return d.done, nil }
	return d
}

// Change stores and reports as a daemon would, service by service; a change to "canary-refused" fails, and one to
// "canary-waits" does where it must not wait.
func (d *fakeDaemon) Change(ctx context.Context, order control.ChangeOrder, report func(control.Progress)) error {
	names := []secrets.Name{}
	for _, change := range order.Changes {
		names = append(names, change.Name)
		switch {
		case string(change.Value) == "canary-refused":
			return d.end(control.KindSet, names, order.Order, errors.Join(control.ErrRolledBack, errors.New("postgres did not accept it")))
		case string(change.Value) == "canary-waits" && order.NoWait:
			return control.ErrBusy
		}
	}
	report(control.Progress{Service: "gateway", Message: "restarting"})
	report(control.Progress{Service: "gateway", Message: "healthy"})
	err := d.local.Change(ctx, order, func(control.Progress) {})
	return d.end(control.KindSet, names, order.Order, err)
}

// Rotate promotes at once what a daemon would. One that must not wait has to, and one of two names is not finished.
func (d *fakeDaemon) Rotate(ctx context.Context, r control.Rotation, report func(control.Progress)) error {
	_, _, choice, err := d.choose(ctx, r)
	if err != nil {
		return err
	}
	for _, name := range choice.Names {
		report(control.Progress{Step: "accept", Secret: string(name), Service: "postgres", Message: "beside the old one"})
	}
	report(control.Progress{Step: "adopt", Service: "gateway", Message: "restarting"})
	if d.goOn != nil {
		<-d.goOn
		defer func() { d.ended <- ctx.Err() }()
	}
	kind := control.KindRotate
	switch {
	case r.Rehearse:
		return d.end(control.KindRehearse, choice.Names, r.Order, nil)
	case r.NoWait:
		return control.ErrBusy
	case len(r.Names) == 2:
		return d.end(kind, choice.Names, r.Order, errors.Join(control.ErrRecoveryPending, errors.New("postgres went away")))
	case r.Rollback:
		kind = control.KindRollback
	}
	if err := d.local.Rotate(ctx, r, func(control.Progress) {}); err != nil {
		return err
	}
	for _, name := range choice.Names {
		if err := d.with(ctx, func(store secrets.Store) error { return secrets.Promote(ctx, store, name) }); err != nil {
			return err
		}
	}
	return d.end(kind, choice.Names, r.Order, nil)
}

// end writes the receipt of a change and returns err.
func (d *fakeDaemon) end(kind string, names []secrets.Name, order control.Order, err error) error {
	now := time.Now().UTC()
	r := control.Receipt{ID: fmt.Sprint(len(d.done) + 1), Kind: kind, Secrets: strings.Split(joined(names), ", "), By: order.By, Began: now.Add(-1500 * time.Millisecond),
		Ended: now, TookMS: 1500, Outcome: control.OutcomeDone, Steps: []control.ReceiptStep{{Step: "adopt", Service: "gateway", Began: now, TookMS: 12}}}
	switch {
	case errors.Is(err, control.ErrRecoveryPending):
		r.Outcome, r.Hint = control.OutcomeUnfinished, "minibotd reload carries it on"
	case err != nil:
		r.Outcome, r.Reason = control.OutcomeRolledBack, "postgres did not accept it"
	}
	d.done = append(d.done, r)
	return err
}
