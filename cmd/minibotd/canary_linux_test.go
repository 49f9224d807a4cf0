package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minibot/deploy"
	"minibot/secrets"
	"minibot/secrets/stores"
)

// canaryRun is a whole life of the shipped stack, of which everything is kept or searched that could show a value.
type canaryRun struct {
	*installation // its engine is the proxy
	t             *testing.T
	direct        installation // past the proxy
	engineDir     string       // of the private engine: all that it has on disk
	realHome      string       // of who runs the tests
	root          string       // HOME, TMPDIR and the working directory lie in it
	values        *secretSet   // what must not be found
	planted       *secretSet   // what must be, for the search to mean something
	evidence      *evidence
	proxy         *engineProxy
	since         time.Time
	storeReads    int // by learn
}

// execMarker stands in the command line of what mb-secrets exec runs, which has values in its environment because it was asked for.
const execMarker = "canary-run-exec"

// newCanaryRun makes an installation whose engine, home, temporary folder and working directory are its own.
func newCanaryRun(t *testing.T) *canaryRun {
	t.Helper()
	c := &canaryRun{t: t, engineDir: filepath.Join(cacheDir(t), "private-canary"), root: t.TempDir(), since: time.Now().Add(-time.Second),
		realHome: os.Getenv("HOME"), values: &secretSet{}, planted: &secretSet{}, evidence: newEvidence(t)}
	onlyOne(t, c.engineDir+".lock")
	engine := script(t, "engine", "--private", c.engineDir)
	t.Cleanup(func() { script(t, "engine", "--private", c.engineDir, "--stop") })
	script(t, "images", "--load", engine)
	for variable, folder := range map[string]string{"HOME": "home", "TMPDIR": "tmp", "PWD": "work"} {
		if err := os.Mkdir(filepath.Join(c.root, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv(variable, filepath.Join(c.root, folder))
	}
	c.proxy = proxyTo(t, engine, newRecorder(t, c.evidence, engine).record)
	// a restart of an OpenClaw that is slow on a busy machine makes it no faster
	patient := strings.Replace(string(deploy.ComposeFile), "start_period: 90s", "start_period: 300s", 1)
	c.installation = install(t, c.proxy.host(), patient, map[string]string{
		"MINIBOT_POSTGRES_PORT": freePort(t), "MINIBOT_REDIS_PORT": freePort(t), "MINIBOT_OPENCLAW_PORT": freePort(t), "MINIBOT_TELEGRAM": "false",
	})
	c.configure(`log_level = "debug"`)
	c.direct = *c.installation
	c.direct.engine = engine
	return c
}

// onlyOne waits until no other run, of another copy of this project, uses what a lock file stands for, and keeps others off it.
func onlyOne(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() }) // lets go
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Minute); ; <-tick.C {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			t.Fatalf("%s: %v", path, err)
		}
	}
}

// work is the daemon's working directory, where a core file would appear.
func (c *canaryRun) work() string { return filepath.Join(c.root, "work") }

// run is installation.run for a command that must end with one of codes, and must not show a value.
func (c *canaryRun) run(codes []int, stdin, program string, args ...string) result {
	c.t.Helper()
	r := c.installation.run(stdin, program, args...)
	c.told(false, r, codes, program, args...)
	return r
}

// shows is run for a command that is there to show values on its standard output.
func (c *canaryRun) shows(stdin, program string, args ...string) string {
	c.t.Helper()
	r := c.installation.run(stdin, program, args...)
	c.told(true, r, []int{0}, program, args...)
	return r.stdout
}

func (c *canaryRun) told(shows bool, r result, codes []int, program string, args ...string) {
	c.t.Helper()
	class := "output of " + program + " " + args[0]
	c.evidence.keep(shows, class, r.stdout)
	c.evidence.keep(false, class, r.stderr)
	if !slices.Contains(codes, r.code) {
		c.t.Errorf("%s %s: exit %d, want one of %v\n%s%s", program, strings.Join(args, " "), r.code, codes, r.stdout, r.stderr)
	}
}

var (
	done   = []int{0}
	failed = []int{1}
	broken = []int{1, 4, 5} // failed, rolled back, or to be finished
)

// begin starts the daemon where it may dump core, and wants to.
func (c *canaryRun) begin(env ...string) {
	c.t.Helper()
	cmd := exec.Command("sh", "-c", `ulimit -c unlimited; exec "$0" run`, filepath.Join(programs, "minibotd"))
	cmd.Env, cmd.Dir = append(append(c.environ(), "GOTRACEBACK=crash"), env...), c.work()
	cmd.Stdout, cmd.Stderr = c.log, c.log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.daemon, c.exited = cmd, make(chan error, 1)
	go func() { c.exited <- cmd.Wait() }()
}

// watch keeps the command line and the environment of all processes, those in containers included, until stop is called.
func (c *canaryRun) watch() (stop func()) {
	seed, seen, last := maphash.MakeSeed(), map[uint64]bool{}, map[string]uint64{}
	keep := func(exempt bool, class string, data []byte) uint64 {
		hash := maphash.Bytes(seed, append([]byte(class), data...))
		if !seen[hash] {
			seen[hash] = true
			c.evidence.keep(exempt, class, string(data))
		}
		return hash
	}
	return eachProcess(c.t, func(pid string) bool {
		line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err != nil {
			return false // it has ended
		}
		hash := keep(false, "command lines", line)
		if hash == last[pid] {
			return false // the same program as before, so its environment is the same too
		}
		environ, err := os.ReadFile(filepath.Join("/proc", pid, "environ"))
		again, errAgain := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err != nil || errAgain != nil || !bytes.Equal(line, again) {
			return false // it has ended, or became another program meanwhile: the next look has both of one
		}
		last[pid] = hash
		keep(strings.Contains(string(line), execMarker), "environments", environ)
		return false
	})
}

// learn reads every slot of the store again and again, so that what minibot makes up is looked for too, also what is in
// force for a moment only.
func (c *canaryRun) learn() (stop func()) {
	ended := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		var last time.Time
		for {
			if info, err := os.Stat(c.file("store.age")); err == nil && !info.ModTime().Equal(last) {
				if c.readStore() == nil { // a test damages it
					last = info.ModTime()
				}
			}
			select {
			case <-tick.C:
			case <-ended:
				return
			}
		}
	})
	return func() { close(ended); both.Wait() }
}

func (c *canaryRun) readStore() error {
	store, err := stores.Open(c.t.Context(), stores.Options{Kind: "age", Home: c.home})
	if err != nil {
		return err
	}
	entries, err := store.List(c.t.Context())
	for _, entry := range entries {
		item, unread := store.Get(c.t.Context(), entry.Name, entry.Slot)
		if err = errors.Join(err, unread); unread == nil {
			c.values.add(string(entry.Name), string(item.Value.Reveal()), string(item.Value.Reveal()))
		}
	}
	if err == nil {
		c.storeReads++
	}
	return err
}

// users are the services of the shipped stack that have a secret.
var users = map[secrets.Name]string{
	"POSTGRES_PASSWORD": "postgres", "REDIS_PASSWORD": "redis",
	"ANTHROPIC_API_KEY": "openclaw", "TELEGRAM_BOT_TOKEN": "openclaw", "OPENCLAW_GATEWAY_TOKEN": "openclaw",
}

// inForce sees that the stored values are those that the services have and the databases take: that this was a life.
func (c *canaryRun) inForce() {
	c.t.Helper()
	for name, service := range users {
		value := c.shows("", "mb-secrets", "get", string(name))
		sum := sha256.Sum256([]byte(value))
		if got, _, _ := strings.Cut(c.direct.docker("exec", c.container(service), "sha256sum", "/run/secrets/"+string(name)), " "); got != hex.EncodeToString(sum[:]) {
			c.t.Errorf("%s has another %s than the store", service, name)
		}
		takes := map[secrets.Name]func(string) bool{"POSTGRES_PASSWORD": c.direct.postgresTakes, "REDIS_PASSWORD": c.redisTakesQuoted}[name]
		if takes != nil && !takes(value) {
			c.t.Errorf("%s is not in force", name)
		}
	}
}

// redisTakesQuoted is redisTakes for a password of any bytes.
func (c *canaryRun) redisTakesQuoted(password string) bool {
	out, err := c.redis(password, "PING")
	return err == nil && strings.Contains(out, "PONG")
}

// redis gives Redis commands, which it reads from its standard input.
func (c *canaryRun) redis(password string, commands ...string) (string, error) {
	quoted := `"`
	for _, b := range []byte(password) {
		quoted += fmt.Sprintf(`\x%02x`, b)
	}
	out, err := c.direct.dockerCommand("AUTH "+quoted+"\"\n"+strings.Join(commands, "\n")+"\n", "exec", "-i", c.container("redis"), "redis-cli").Output()
	return string(out), err
}

// plant leaves a value everywhere in the engine and the machine where a search must find one.
func (c *canaryRun) plant() {
	c.t.Helper()
	value := c.planted.special("planted", "canary-planted-", "-planted")
	const everywhere = `echo "$X" >/layer; echo "$X" >/kept/file; echo "$X" >/memory/file; echo "$X"; exec sleep 3600`
	c.t.Cleanup(func() {
		c.direct.tryDocker("rm", "-f", "-v", c.container("planted"))
		c.direct.tryDocker("volume", "rm", c.name+"_planted", c.name+"_memory")
	})
	c.direct.docker("volume", "create", "--opt=type=tmpfs", "--opt=device=tmpfs", c.name+"_memory")
	c.direct.docker("run", "-d", "--init", "--name", c.container("planted"), "--network=none", "--label=x="+value, "-e", "X="+value,
		"-v", c.name+"_planted:/kept", "-v", c.name+"_memory:/memory", "--tmpfs=/data", "--entrypoint=sh", image("MINIBOT_REDIS_IMAGE"), "-c", everywhere)
	c.poll("planted", 60*time.Second, func() bool { return strings.Contains(c.direct.tryDocker("logs", c.container("planted")), value) }, func() string { return "" })
}

// plantedIn are where the engine keeps what was planted.
var plantedIn = []string{`/overlay2/[^/]+/diff/layer$`, `/volumes/[^/]+_planted/_data/file$`, `/containers/[^/]+/[^/]+-json\.log$`, `/containers/[^/]+/config\.v2\.json$`, `/run/exec/`}

// searchEngine goes through what the private engine has on disk while what was planted is there: all of it, or what was made or
// changed since the run began. What is older than the values cannot hold them, and most of it are the images.
func (c *canaryRun) searchEngine(when string, all bool) {
	c.t.Helper()
	c.onlyMemoryIsLeftOut()
	began := time.Now()
	both := &secretSet{}
	for _, set := range []*secretSet{c.values, c.planted} {
		both.join(set)
	}
	var found searched
	if all {
		found = both.tree(c.t, c.engineDir)
		if found.files < 1000 || found.bytes < 500<<20 {
			c.t.Errorf("%s: only %d files, %d bytes of the engine's were searched", when, found.files, found.bytes)
		}
	} else {
		found = both.files(c.t, c.changedFiles([]string{c.engineDir}))
	}
	c.t.Logf("%s: the engine's folder: %d files, %d MB, %v", when, found.files, found.bytes>>20, time.Since(began).Round(time.Millisecond))
	isPlanted := func(h hit) bool { return strings.HasPrefix(h.what, "planted") }
	c.clean(when+": the engine's folder", slices.DeleteFunc(slices.Clone(found.hits), isPlanted))
	for _, place := range plantedIn {
		at := regexp.MustCompile(place)
		if !slices.ContainsFunc(found.hits, func(h hit) bool { return isPlanted(h) && at.MatchString(h.path) }) {
			c.t.Errorf("%s: what was planted in %s is not found", when, place)
		}
	}
	if slices.ContainsFunc(found.hits, func(h hit) bool { return strings.Contains(h.path, "_memory/") }) {
		c.t.Errorf("%s: what lies in memory is found on the disk", when)
	}
}

// mounts are what is mounted where the engine runs.
func (c *canaryRun) mounts() string {
	c.t.Helper()
	pid, err := os.ReadFile(filepath.Join(c.engineDir, "run", "dockerd.pid"))
	if err != nil {
		c.t.Fatal(err)
	}
	mounts, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "mountinfo"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(mounts)
}

// onlyMemoryIsLeftOut makes sure that what is mounted over the engine's folder, as the engine sees it, hides nothing that is on a
// disk from a search that does not see the mounts.
func (c *canaryRun) onlyMemoryIsLeftOut() {
	c.t.Helper()
	device, count := "", map[string]int{}
	for line := range strings.Lines(c.mounts()) {
		before, after, _ := strings.Cut(line, " - ")
		at, kind := strings.Fields(before), strings.Fields(after)[0]
		if at[4] == "/" {
			device = at[2]
		}
		if !strings.HasPrefix(at[4], c.engineDir+"/") {
			continue
		}
		count[kind]++
		switch {
		case kind == "tmpfs", kind == "nsfs", at[2] == device: // memory, no files, the same disk
		case kind == "overlay" && strings.Contains(after, "upperdir="+c.engineDir+"/"): // its layers lie there
		default:
			c.t.Errorf("%s is a %s, which is not searched", at[4], kind)
		}
	}
	if count["tmpfs"] == 0 || device == "" {
		c.t.Errorf("the engine has no mounts in memory: %v", count)
	}
}

// clean reports what was found where nothing may be.
func (c *canaryRun) clean(where string, hits []hit) {
	c.t.Helper()
	const most = 40
	for i, h := range hits {
		if i == most {
			c.t.Errorf("%s: and %d more", where, len(hits)-most)
			return
		}
		c.t.Errorf("%s holds a value: %v", where, h)
	}
}

// changedFiles are those below some folders, other than except, that were made or changed since the run began.
func (c *canaryRun) changedFiles(roots []string, except ...string) []string {
	c.t.Helper()
	var args []string
	for _, root := range roots {
		if _, err := os.Stat(root); err == nil {
			args = append(args, root)
		}
	}
	args = append(args, "-xdev", "(", "-false")
	for _, path := range except {
		args = append(args, "-o", "-path", path)
	}
	since := "@" + strconv.FormatInt(c.since.Unix(), 10)
	args = append(args, ")", "-prune", "-o", "-type", "f", "(", "-newermt", since, "-o", "-newerct", since, ")", "-print0")
	out, err := exec.Command("find", args...).Output() // what goes away meanwhile makes it fail
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
}
