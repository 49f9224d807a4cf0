package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRestartsOfTheEngine ends a private engine by SIGTERM and by SIGKILL, with three installations on it: one that is locked
// down, one whose daemon runs on, and one without a daemon, three of whose services have ended before, with 0, 143 and 137.
func TestRestartsOfTheEngine(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(cacheDir(t), "private-restarts")
	engine := script(t, "engine", "--private", dir)
	t.Cleanup(func() { script(t, "engine", "--private", dir, "--stop") })
	loadImage(t, engine, "MINIBOT_REDIS_IMAGE")
	locked, watched, alone := tiny(t, engine), fed(t, engine), fed(t, engine)
	locked.start()
	locked.healthy(2 * time.Minute)
	locked.must("", "minibotd", "lockdown")
	locked.dead(10 * time.Second)
	starts := 1
	for name, how := range map[string]string{"SIGTERM": "--stop", "SIGKILL": "--kill"} {
		t.Run(name, func(t *testing.T) {
			alone.kill()
			alone.endEach()
			script(t, "engine", "--private", dir, how)
			script(t, "engine", "--private", dir)
			t.Run("nothing starts without a daemon", func(*testing.T) { alone.staysDown(3 * time.Second) })
			t.Run("each service starts fed", func(*testing.T) {
				starts++
				alone.start()
				for _, in := range []*installation{watched, alone} {
					in.healthy(2 * time.Minute)
					in.allFed(starts)
				}
			})
			t.Run("a lockdown holds", func(*testing.T) {
				locked.lockedDown(30 * time.Second)
				locked.staysDead(time.Second)
			})
		})
	}
	locked.must("", "minibotd", "unlock")
	locked.healthy(2 * time.Minute)
	t.Run("a lockdown while the engine is away", func(t *testing.T) {
		script(t, "engine", "--private", dir, "--kill")
		r := locked.run("", "minibotd", "lockdown")
		if r.code != 1 || !strings.Contains(r.stderr, "recorded, but containers may run") {
			t.Errorf("exit %d: %s", r.code, r.stderr)
		}
		if s := locked.lockedDown(5 * time.Second); !strings.Contains(s.Reason, "containers may run") {
			t.Errorf("%+v", s)
		}
		locked.kill()
		script(t, "engine", "--private", dir)
		locked.start()
		locked.dead(30 * time.Second)
		locked.staysDead(3 * time.Second)
	})
	locked.must("", "minibotd", "unlock")
	locked.healthy(2 * time.Minute)
}

// staysDown watches for a while that the engine starts no service by itself.
func (in *installation) staysDown(during time.Duration) {
	in.t.Helper()
	end := time.Now().Add(during)
	in.poll("watched", during+time.Minute, func() bool {
		if names := in.servicesUp(); names != "" {
			in.t.Errorf("the engine started %s", names)
			return true
		}
		return time.Now().After(end)
	}, func() string { return "" })
}
