package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
	"minibot/stack"
)

func ofEngine(change func(*fakeEngine)) func(*testing.T, *Doctor) {
	return func(t *testing.T, d *Doctor) {
		e, err := d.Dial(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		change(e.(*fakeEngine))
	}
}

func absent(err error, app string) func(*testing.T, *Doctor) {
	return func(t *testing.T, d *Doctor) {
		d.Dial = func(context.Context, string) (Engine, error) { return nil, err }
		if app != "" {
			if err := os.MkdirAll(filepath.Join(d.UserHome, app), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTheEngine(t *testing.T) {
	onLinux := func(err error) func(*testing.T, *Doctor) {
		return func(t *testing.T, d *Doctor) { d.GOOS = "linux"; absent(err, "")(t, d) }
	}
	none := stack.ErrEngineUnreachable
	root := ""
	if os.Geteuid() != 0 {
		root = "sudo "
	}
	testFaults(t, map[string]fault{
		"none, Docker Desktop": {"engine", absent(none, "Applications/Docker.app"), Failure, "", "open -a Docker"},
		"none, OrbStack":       {"engine", absent(none, "Applications/OrbStack.app"), Failure, "", "open -a OrbStack"},
		"none, Colima":         {"engine", absent(none, ".colima"), Failure, "", "colima start"},
		"none at all":          {"engine", absent(none, ""), Failure, "", "brew install --cask docker"},
		"none on Linux":        {"engine", onLinux(none), Failure, "", root + "systemctl start docker"},
		"no permission":        {"engine", onLinux(errors.Join(none, syscall.EACCES)), Failure, "", root + "usermod -aG docker you"},
		"not where configured": {"engine", func(t *testing.T, d *Doctor) {
			absent(none, "")(t, d)
			writeFile(t, d.Paths.Config, "store = \"keychain\"\ndocker_host = \"unix:///x\"\n", 0o600)
		}, Failure, "", "${EDITOR:-vi} "},
		"old":            {"engine", ofEngine(func(e *fakeEngine) { e.info.API = "1.40" }), Warning, "speaks API 1.40", ""},
		"no version":     {"engine", ofEngine(func(e *fakeEngine) { e.info.API = "x" }), Warning, "speaks API", ""},
		"newer":          {"engine", ofEngine(func(e *fakeEngine) { e.info.API = "2.0" }), OK, "API 2.0", ""},
		"no image":       {"images", ofEngine(func(e *fakeEngine) { e.checkup.Missing = map[string]string{"web:1": "web"} }), Failure, "image web:1 of service web", "docker pull web:1"},
		"no local image": {"images", ofEngine(func(e *fakeEngine) { e.checkup.Missing = map[string]string{"minibot/web:local": "web"} }), Failure, "minibot/web:local", "scripts/images"},
		"images unknown": {"images", absent(none, ""), Warning, "cannot tell: no engine answers", ""},
	})
}

func TestPorts(t *testing.T) {
	none := stack.ErrEngineUnreachable
	root := ""
	if os.Geteuid() != 0 {
		root = "sudo "
	}
	port := func(p stack.Port) func(*testing.T, *Doctor) {
		return ofEngine(func(e *fakeEngine) { e.checkup.Ports = []stack.Port{p} })
	}
	busy := func(err error, script string) func(*testing.T, *Doctor) {
		return func(t *testing.T, d *Doctor) {
			d.Listen = func(context.Context, string, string) (net.Listener, error) {
				return nil, &net.OpError{Op: "listen", Err: err}
			}
			program(lsof, script)(t, d)
		}
	}
	mine := fmt.Sprintf("printf 'p4711\\ncnode\\nu%d\\nf12\\n'", os.Geteuid())
	testFaults(t, map[string]fault{
		"another's port":    {"ports", port(stack.Port{Container: "old-web", Project: "old", Address: "0.0.0.0", Port: 5000, Protocol: "tcp"}), Failure, "held by container old-web", "docker stop old-web"},
		"the stack's own":   {"ports", port(stack.Port{Container: "web", Project: "patient", Address: "127.0.0.1", Port: 5000, Protocol: "tcp"}), OK, "1 of the stack's", ""},
		"another address":   {"ports", port(stack.Port{Container: "web", Project: "old", Address: "127.0.0.2", Port: 5000, Protocol: "tcp"}), OK, "1 of the stack's", ""},
		"a process":         {"ports", busy(syscall.EADDRINUSE, mine), Failure, "held by node (pid 4711)", "kill 4711"},
		"root's process":    {"ports", busy(syscall.EADDRINUSE, "printf 'p1\\ncx\\nu99999\\n'"), Failure, "held by x (pid 1)", root + "kill 1"},
		"an unseen process": {"ports", busy(syscall.EADDRINUSE, "exit 1"), Failure, "cannot see", root + "lsof -nP -iTCP:5000"},
		"lsof is unknown":   {"ports", busy(syscall.EADDRINUSE, "echo pcanary"), Failure, "cannot see", root + "lsof"},
		"no such address":   {"ports", busy(syscall.EADDRNOTAVAIL, "exit 1"), Failure, "no such address", "${EDITOR:-vi} "},
		"a port of root":    {"ports", busy(syscall.EACCES, "exit 1"), OK, "", ""},
		"ports are unknown": {"ports", busy(syscall.EMFILE, "exit 1"), Warning, "cannot be tried", ""},
		"held, no engine": {"ports", func(t *testing.T, d *Doctor) { busy(syscall.EADDRINUSE, mine)(t, d); absent(none, "")(t, d) },
			Warning, "which does not answer", ""},
	})
}

func TestDisksAndClock(t *testing.T) {
	none := stack.ErrEngineUnreachable
	off := func(by time.Duration) func(*testing.T, *Doctor) {
		return ofEngine(func(e *fakeEngine) { e.checkup.Off = by })
	}
	testFaults(t, map[string]fault{
		"home nearly full":     {"disk", func(_ *testing.T, d *Doctor) { d.DiskFree = func(string) (uint64, error) { return 100 << 20, nil } }, Warning, "has 100 MiB free", "du "},
		"home full":            {"disk", func(_ *testing.T, d *Doctor) { d.DiskFree = func(string) (uint64, error) { return 0, nil } }, Failure, "has 0 MiB free", "du "},
		"home unknown":         {"disk", func(_ *testing.T, d *Doctor) { d.DiskFree = func(string) (uint64, error) { return 0, errors.New("x") } }, Warning, "cannot tell", ""},
		"engine nearly full":   {"disk", ofEngine(func(e *fakeEngine) { e.free = 1 << 29 }), Warning, "the engine's disk has 512 MiB", "docker image prune"},
		"engine full":          {"disk", ofEngine(func(e *fakeEngine) { e.free = 1 << 20 }), Failure, "the engine's disk has 1 MiB", "docker image prune"},
		"engine's room unseen": {"disk", ofEngine(func(e *fakeEngine) { e.err = stack.ErrUnseen }), Warning, "cannot tell", "docker system df"},
		"no engine, no room":   {"disk", absent(none, ""), Warning, "cannot tell", ""},
		"clock slow":           {"clock", off(-time.Minute), Warning, "-1m0s off", "colima restart"},
		"clock wrong":          {"clock", off(time.Hour), Failure, "1h0m0s off", "colima restart"},
		"clock a little off":   {"clock", off(2 * time.Second), OK, "", ""},
		"no clock":             {"clock", ofEngine(func(e *fakeEngine) { e.checkup.Clock = time.Time{} }), Warning, "cannot tell", ""},
	})
}

func TestTheStore(t *testing.T) {
	alone := func(d *Doctor) {
		d.Daemon = func(context.Context) (control.Status, error) { return control.Status{}, control.ErrUnreachable }
	}
	fails := func(err error) func(*testing.T, *Doctor) {
		return func(_ *testing.T, d *Doctor) {
			alone(d)
			d.ReadStore = func(context.Context, string, func(secrets.Store) error) error { return err }
		}
	}
	daemon := func(status control.Status) func(*testing.T, *Doctor) {
		return func(t *testing.T, d *Doctor) {
			d.Daemon = func(context.Context) (control.Status, error) { return status, nil }
			d.ReadStore = func(context.Context, string, func(secrets.Store) error) error { t.Error("opened"); return nil }
		}
	}
	open := control.Store{Kind: "keychain", State: "open"}
	locked := hint.Wrap(secrets.ErrLocked, "run `security unlock-keychain`")
	testFaults(t, map[string]fault{
		"alone": {"store", func(_ *testing.T, d *Doctor) { alone(d) }, OK, "all 1 required", ""},
		"empty": {"store", func(_ *testing.T, d *Doctor) {
			alone(d)
			d.ReadStore = func(_ context.Context, _ string, read func(secrets.Store) error) error {
				return read(secrets.NewMemory())
			}
		}, Failure, "API_KEY is required", "mb-secrets generate API_KEY"},
		"none":   {"store", fails(secrets.ErrNoStore), Failure, "no store", "mb-secrets init"},
		"locked": {"store", fails(locked), Failure, "locked", "security unlock-keychain"},
		"locked over SSH": {"store", func(t *testing.T, d *Doctor) {
			fails(locked)(t, d)
			d.Getenv = func(string) string { return "1.2.3.4" }
		}, Warning, "this SSH session", "security unlock-keychain"},
		"denied":   {"store", fails(hint.Wrap(secrets.ErrDenied, "allow it in the dialog")), Failure, "allow it in the dialog", ""},
		"held":     {"store", fails(control.ErrDaemonHolds), Warning, "does not answer", "minibotd kickstart"},
		"daemon's": {"store", daemon(control.Status{Phase: control.PhaseHealthy, Version: "1.2.3", Store: open}), OK, "open in minibotd", ""},
		"daemon misses one": {"store", daemon(control.Status{Phase: control.PhaseHealthy, Version: "1.2.3", Store: open, Secrets: []control.Secret{{Name: "API_KEY", State: "missing"}}}),
			Failure, "API_KEY is required", "mb-secrets set API_KEY"},
		"daemon's is locked": {"store", daemon(control.Status{Phase: control.PhaseWaitingForStore, Store: control.Store{Kind: "keychain", State: "locked"}, Hint: "run `security unlock-keychain`"}),
			Failure, "is locked", "security unlock-keychain"},
		"daemon refuses": {"store", func(_ *testing.T, d *Doctor) {
			d.Daemon = func(context.Context) (control.Status, error) { return control.Status{}, errors.New("another wire") }
		}, Warning, "cannot tell", ""},
	})
}

func TestDaemonAndVersions(t *testing.T) {
	phase := func(s control.Status) func(*testing.T, *Doctor) {
		return func(_ *testing.T, d *Doctor) {
			d.Daemon = func(context.Context) (control.Status, error) { return s, nil }
		}
	}
	down := func(change func(*Doctor)) func(*testing.T, *Doctor) {
		return func(_ *testing.T, d *Doctor) {
			d.Daemon = func(context.Context) (control.Status, error) { return control.Status{}, control.ErrUnreachable }
			change(d)
		}
	}
	older := control.Status{Phase: control.PhaseHealthy, Version: "1.2.2", PID: 4711}
	testFaults(t, map[string]fault{
		"down, loaded":    {"daemon", down(func(*Doctor) {}), Failure, "does not run", "minibotd kickstart"},
		"down, by nobody": {"daemon", down(func(d *Doctor) { d.Agent = nil }), Failure, "does not run", "minibotd run"},
		"silent": {"daemon", func(t *testing.T, d *Doctor) {
			d.Daemon = func(ctx context.Context) (control.Status, error) {
				if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > daemonTimeout {
					t.Errorf("it may take until %v", deadline)
				}
				return control.Status{}, fmt.Errorf("ask: %w", context.DeadlineExceeded)
			}
		}, Failure, "does not answer", "minibotd kickstart"},
		"silent, by nobody": {"daemon", func(t *testing.T, d *Doctor) {
			d.Agent = nil
			d.Daemon = func(context.Context) (control.Status, error) { return control.Status{}, context.DeadlineExceeded }
			d.Paths.DaemonLock = filepath.Join(d.UserHome, "lock")
			release, err := control.AcquireLock(t.Context(), d.Paths.DaemonLock)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := release(); err != nil {
					t.Error(err)
				}
			})
		}, Failure, "does not answer", fmt.Sprintf("kill -9 %d; minibotd run", os.Getpid())},
		"degraded":     {"daemon", phase(control.Status{Phase: control.PhaseDegraded, Reason: "web exits"}), Warning, "degraded: web exits", "minibotd status"},
		"stopped":      {"daemon", phase(control.Status{Phase: control.PhaseStopped}), Warning, "stopped by hand", "minibotd start"},
		"locked down":  {"daemon", phase(control.Status{Phase: control.PhaseLockedDown}), Warning, "locked down", "minibotd unlock"},
		"older daemon": {"versions", phase(older), Failure, "runs as version 1.2.2", "minibotd install"},
		"older daemon, by nobody": {"versions", func(t *testing.T, d *Doctor) { phase(older)(t, d); d.Agent = nil },
			Failure, "runs as version 1.2.2", "kill 4711"},
		"odd mb-secrets": {"versions", func(t *testing.T, d *Doctor) {
			writeFile(t, filepath.Join(d.UserHome, "mb-secrets"), "#!/bin/sh\necho canary canary\n", 0o700)
		}, Warning, "cannot tell", ""},
	})
}
