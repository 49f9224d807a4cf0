package launchdtest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"howett.net/plist"

	"minibot/launchd/launchdtest"
)

var standin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "launchdtest")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		standin, err = launchdtest.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

type keys map[string]any

// bench is a launchd and the folder of a test's agents, which no login loads.
type bench struct {
	*launchdtest.Launchd
	t      *testing.T
	dir    string
	domain string
}

func newBench(t *testing.T, options launchdtest.Options) *bench {
	t.Helper()
	options.Program = standin
	l := launchdtest.Start(t, options)
	return &bench{Launchd: l, t: t, dir: t.TempDir(), domain: "gui/" + strconv.Itoa(l.UID())}
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// write makes a property list of a shell script and more keys, and returns its path.
func (b *bench) write(dir, label, script string, more keys) string {
	b.t.Helper()
	all := keys{"Label": label, "ProgramArguments": []string{"/bin/sh", "-c", script}, "StandardOutPath": b.out(label)}
	for key, value := range more {
		if all[key] = value; value == nil {
			delete(all, key)
		}
	}
	data, err := plist.Marshal(map[string]any(all), plist.XMLFormat)
	b.check(err)
	path := filepath.Join(dir, label+".plist")
	b.check(os.WriteFile(path, data, 0o600))
	return path
}

// load bootstraps an agent.
func (b *bench) load(label, script string, more keys) {
	b.t.Helper()
	b.want(0, "", "bootstrap", b.domain, b.write(b.dir, label, script, more))
}

func (b *bench) out(label string) string { return filepath.Join(b.dir, label+".out") }

// want runs launchctl and compares its exit status and all that it printed; words "" are none, and "…" is anything.
func (b *bench) want(exit int, words string, arguments ...string) {
	b.t.Helper()
	stdout, stderr, got := b.Run(arguments...)
	pattern := "(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(words), "…", ".*") + "$"
	if printed := strings.TrimSuffix(stdout+stderr, "\n"); got != exit || !regexp.MustCompile(pattern).MatchString(printed) {
		b.t.Errorf("launchctl %q: %d %q, want %d %q", arguments, got, printed, exit, words)
	}
}

// print returns a field of print's first level.
func (b *bench) print(label, field string) string {
	b.t.Helper()
	out, _, _ := b.Run("print", b.Target(label))
	if m := regexp.MustCompile(`(?m)^\t` + field + ` = (.*)$`).FindStringSubmatch(out); m != nil {
		return m[1]
	}
	return ""
}

// text returns what an agent wrote, once it has as many lines.
func (b *bench) text(path string, lines int) string {
	b.t.Helper()
	var data []byte
	b.eventually(path, func() bool {
		data, _ = os.ReadFile(path)
		return strings.Count(string(data), "\n") >= lines
	})
	return string(data)
}

func (b *bench) eventually(what string, condition func() bool) {
	b.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("%s: not within 20 s: %+v", what, b.Log())
		}
	}
}

// events returns those of a kind and a label.
func (b *bench) events(kind, label string) []launchdtest.Event {
	b.t.Helper()
	return slices.DeleteFunc(b.Log(), func(e launchdtest.Event) bool { return e.Kind != kind || label != "" && e.Label != label })
}

// spawns waits for n processes of label and returns when they were started.
func (b *bench) spawns(label string, n int) []launchdtest.Event {
	b.t.Helper()
	b.eventually(fmt.Sprintf("%d starts of %s", n, label), func() bool { return len(b.events("spawn", label)) >= n })
	return b.events("spawn", label)
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// wait is a script that runs until SIGTERM. Its sleeps are short: a signal that comes just before dash waits is seen after it.
const wait = `trap 'exit 0' TERM; echo up; while :; do sleep 0.2 & wait $!; done`

// deaf is a script that does not end on SIGTERM.
const deaf = `trap 'echo term' TERM; echo up; while :; do sleep 0.2 & wait $!; done`

func TestAgentGetsWhatLaunchdGives(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{})
	b.want(0, "", "setenv", "CANARY", "set with launchctl")
	b.want(0, "set with launchctl", "getenv", "CANARY")
	b.load("env", "", keys{
		"ProgramArguments": []string{"/usr/bin/env"}, "RunAtLoad": true, "EnvironmentVariables": map[string]string{"PATH": "/opt/homebrew/bin", "A": "b c"},
	})
	dir := filepath.Dir(b.Launchctl())
	want := strings.Join([]string{
		"A=b c", "CANARY=set with launchctl", "HOME=" + b.UserHome(), "LOGNAME=you", "OSLogRateLimit=64", "PATH=/opt/homebrew/bin", "SHELL=/bin/zsh",
		"SSH_AUTH_SOCK=" + dir + "/Listeners", "TMPDIR=" + dir + "/T/", "USER=you", "XPC_FLAGS=0x0", "XPC_SERVICE_NAME=env", "__CF_USER_TEXT_ENCODING=0x1F5:0x0:0x0",
	}, "\n") + "\n"
	if have := b.text(b.out("env"), 13); have != want {
		t.Errorf("have %s\nwant %s", have, want)
	}
	b.want(0, "", "unsetenv", "CANARY")
	b.load("path", "echo $PATH:$CANARY", keys{"RunAtLoad": true})
	if have := b.text(b.out("path"), 1); have != "/usr/bin:/bin:/usr/sbin:/sbin:\n" {
		t.Errorf("have %s", have)
	}
}

func TestUmaskFolderLimitsAndSession(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{})
	script := `umask; pwd; ulimit -Sn; cat; echo none >&2; echo up; ` + wait
	b.load("plain", script, keys{"RunAtLoad": true})
	b.load("set", script, keys{"RunAtLoad": true, "Umask": 0o77, "WorkingDirectory": b.UserHome(), "StandardErrorPath": b.out("err")})
	b.load("octal", script, keys{"RunAtLoad": true, "Umask": "027"})
	for label, want := range map[string]string{"plain": "0022\n/", "set": "0077\n" + b.UserHome(), "octal": "0027\n/"} {
		have := strings.Split(b.text(b.out(label), 4), "\n")
		if got := have[0] + "\n" + have[1]; got != want {
			t.Errorf("%s: %q", label, have)
		}
		pid := b.spawns(label, 1)[0].PID
		if session, err := unix.Getsid(pid); have[2] != "256" || session != pid || err != nil {
			t.Errorf("%s: limit %s, session %d of process %d %v", label, have[2], session, pid, err)
		}
	}
	if have := b.text(b.out("err"), 1); have != "none\n" {
		t.Errorf("stderr: %q", have)
	}
	for label, mode := range map[string]os.FileMode{"plain": 0o644, "set": 0o600} {
		if info, err := os.Stat(b.out(label)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", label, info.Mode(), err)
		}
	}
}

// TestFilesAreAppendedToAndKeptOpen is why a log that launchd opened cannot be rotated by renaming.
func TestFilesAreAppendedToAndKeptOpen(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{})
	b.check(os.WriteFile(b.out("log"), []byte("before\n"), 0o600))
	b.load("log", `trap 'echo more' HUP; echo up; while :; do sleep 0.2 & wait $!; done`, keys{"RunAtLoad": true})
	if have := b.text(b.out("log"), 2); have != "before\nup\n" {
		t.Errorf("have %q", have)
	}
	b.check(os.Rename(b.out("log"), b.out("old")))
	b.want(0, "", "kill", "SIGHUP", b.Target("log"))
	if have := b.text(b.out("old"), 3); have != "before\nup\nmore\n" {
		t.Errorf("have %q", have)
	}
	b.check(os.Truncate(b.out("old"), 0)) // truncating works: what follows is at the beginning
	b.want(0, "", "kill", "HUP", b.Target("log"))
	if have := b.text(b.out("old"), 1); have != "more\n" {
		t.Errorf("have %q", have)
	}
}

func TestKeepAliveIsThrottled(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{Speed: 20})
	b.load("crash", `exit 3`, keys{"KeepAlive": true})
	b.load("later", `sleep 1.1; exit 3`, keys{"KeepAlive": true, "ThrottleInterval": 20})
	starts := b.spawns("crash", 3)
	for i := range 2 {
		if apart := starts[i+1].At.Sub(starts[i].At); apart < 450*time.Millisecond {
			t.Errorf("two starts are %v apart, with 10 s at 20 times the speed", apart)
		}
	}
	b.load("slow", `exit 3`, keys{"KeepAlive": true, "ThrottleInterval": 2000})
	b.eventually("the end of slow", func() bool { return b.print("slow", "state") == "spawn scheduled" })
	if exit := b.print("slow", "last exit code"); exit != "3" {
		t.Errorf("last exit code = %s", exit)
	}
	b.want(0, "service spawned with pid: …", "kickstart", "-p", b.Target("slow")) // past the throttle
	b.spawns("later", 2)
	ends := b.events("exit", "later")
	if apart := b.events("spawn", "later")[1].At.Sub(ends[0].At); apart > 990*time.Millisecond {
		t.Errorf("a process that ran for longer than the interval was started after %v", apart)
	}
}

func TestKeepAliveConditions(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{Speed: 100})
	only := func(k string, v any) keys { return keys{"KeepAlive": map[string]any{k: v}} }
	b.load("ok.unless", `exit 0`, only("SuccessfulExit", false))
	b.load("fail.unless", `exit 1`, only("SuccessfulExit", false))
	b.load("ok.while", `exit 0`, only("SuccessfulExit", true))
	b.load("crash", `kill -SEGV $$`, only("Crashed", true))
	b.load("no.crash", `exit 1`, only("Crashed", true))
	b.load("path", `exit 0`, only("PathState", map[string]any{b.dir: true}))
	b.load("none", `exit 0`, keys{"RunAtLoad": true})
	b.load("asleep", `exit 0`, nil)
	for _, label := range []string{"fail.unless", "ok.while", "crash", "path"} {
		b.spawns(label, 3)
	}
	for label, want := range map[string]int{"ok.unless": 1, "no.crash": 1, "none": 1, "asleep": 0} {
		if n := len(b.spawns(label, want)); n != want {
			t.Errorf("%s was started %d times", label, n)
		}
	}
	if state := b.print("asleep", "state") + b.print("asleep", "last exit code"); state != "not running(never exited)" {
		t.Errorf("asleep: %s", state)
	}
	if signal := b.print("crash", "last terminating signal"); signal != "Segmentation fault: 11" {
		t.Errorf("crash: %s", signal)
	}
}

func TestKickstart(t *testing.T) {
	t.Parallel()
	for _, gentle := range []bool{false, true} {
		b := newBench(t, launchdtest.Options{Gentle: gentle, Speed: 1})
		b.load("job", wait, nil)
		b.want(0, "", "kickstart", b.Target("job"))
		first := b.spawns("job", 1)[0].PID
		b.text(b.out("job"), 1)
		b.want(37, `Could not kickstart service "job": 37: Operation already in progress`, "kickstart", b.Target("job"))
		b.want(0, "", "kickstart", "-k", b.Target("job"))
		starts := b.spawns("job", 2)
		if !gone(first) || b.print("job", "pid") != strconv.Itoa(starts[1].PID) || b.print("job", "runs") != "2" {
			t.Errorf("%d is to be gone, %s runs", first, b.print("job", "pid"))
		}
		if apart := starts[1].At.Sub(starts[0].At); apart > 5*time.Second {
			t.Errorf("kickstart waited for the throttle: %v", apart)
		}
		want := "signal 9"
		if gentle {
			want = "exit status 0"
		}
		if end := b.events("exit", "job")[0].Detail; end != want {
			t.Errorf("gentle %v: it ended with %s", gentle, end)
		}
		b.want(113, "Bad request.\nCould not find service \"other\" in domain for user gui: "+strconv.Itoa(b.UID()), "kickstart", "-k", b.Target("other"))
	}
}

// TestBootoutIsAsynchronous has an agent that ignores SIGTERM: its label stays until SIGKILL, and some time longer.
func TestBootoutIsAsynchronous(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{Settle: 2 * time.Second})
	b.load("job", deaf, keys{"RunAtLoad": true, "KeepAlive": true, "ExitTimeOut": 4})
	b.text(b.out("job"), 1)
	n := len(b.Log())
	b.want(0, "", "bootout", b.Target("job"))
	if b.print("job", "state") != "running" {
		t.Error("it is gone at once")
	}
	const refused = "Bootstrap failed: 5: Input/output error\nTry re-running the command as root for richer errors."
	b.want(5, refused, "bootstrap", b.domain, filepath.Join(b.dir, "job.plist"))
	b.want(36, "Boot-out failed: 36: Operation now in progress", "bootout", b.Target("job"))
	b.want(37, "…Operation already in progress", "kickstart", "-k", b.Target("job"))
	end := b.Wait(n, "exit", "job")
	b.want(5, refused, "bootstrap", b.domain, filepath.Join(b.dir, "job.plist"))
	away := b.Wait(n, "unload", "job")
	if end.Detail != "signal 9" || away.At.Sub(end.At) < 1990*time.Millisecond {
		t.Errorf("%s, and forgotten %v later", end.Detail, away.At.Sub(end.At))
	}
	signals := b.events("signal", "job")
	if len(signals) != 2 || signals[0].Detail != "terminated" || signals[1].Detail != "killed" || signals[1].At.Sub(signals[0].At) < 3990*time.Millisecond {
		t.Errorf("%+v", signals)
	}
	b.want(113, "…", "print", b.Target("job"))
	b.want(3, "Boot-out failed: 3: No such process", "bootout", b.Target("job"))
	b.want(0, "", "bootstrap", b.domain, filepath.Join(b.dir, "job.plist"))
}

func TestWhatLaunchdRefuses(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{})
	const five = "Bootstrap failed: 5: Input/output error\nTry re-running the command as root for richer errors."
	b.want(5, five, "bootstrap", b.domain, b.write(b.dir, "a", "", keys{"Label": nil}))
	b.want(5, five, "bootstrap", b.domain, b.write(b.dir, "b", "", keys{"Label": "b/c"}))
	b.want(5, five, "bootstrap", b.domain, b.write(b.dir, "c", "", keys{"ProgramArguments": nil}))
	b.want(5, five, "bootstrap", b.domain, b.write(b.dir, "d", "", keys{"RunAtLoad": "true"}))
	b.want(134, "Bootstrap failed: 134: Service cannot load in requested session", "bootstrap", b.domain,
		b.write(b.dir, "e", "", keys{"LimitLoadToSessionType": "Background"}))
	b.want(2, "Bootstrap failed: 2: No such file or directory", "bootstrap", b.domain, filepath.Join(b.dir, "absent.plist"))
	open := b.write(b.dir, "open", "", nil)
	for _, mode := range []os.FileMode{0o602, 0o620} {
		b.check(os.Chmod(open, mode))
		b.want(122, open+": Path had bad ownership/permissions\nBootstrap failed: 122: Path had bad ownership/permissions", "bootstrap", b.domain, open)
	}
	text := filepath.Join(b.dir, "text.plist")
	b.check(os.WriteFile(text, []byte(`{ Label = text; Program = "/bin/true"; }`), 0o600))
	b.want(5, five, "bootstrap", b.domain, text)
	cut := b.write(b.dir, "cut", wait, nil)
	data, err := os.ReadFile(cut)
	b.check(err)
	b.check(os.WriteFile(cut, data[:len(data)-5], 0o600))
	b.want(5, five, "bootstrap", b.domain, cut)
	if len(b.events("load", "")) > 0 {
		t.Errorf("%+v", b.events("load", ""))
	}
	b.load("twice", wait, nil)
	b.want(5, five, "bootstrap", b.domain, filepath.Join(b.dir, "twice.plist"))
	b.load("aqua", wait, keys{"LimitLoadToSessionType": []string{"Background", "Aqua"}})

	other := newBench(t, launchdtest.Options{UID: os.Getuid() + 1}) // everything belongs to somebody else there
	other.want(122, "…", "bootstrap", other.domain, other.write(other.dir, "mine", "", nil))
}

func TestProgramsThatCannotBeRun(t *testing.T) {
	t.Parallel()
	b := newBench(t, launchdtest.Options{Speed: 100})
	b.load("absent", "", keys{"ProgramArguments": []string{b.dir + "/absent"}, "KeepAlive": true})
	b.load("nolog", "exit 0", keys{"StandardOutPath": b.dir + "/absent/log", "KeepAlive": true})
	b.load("nodir", "exit 0", keys{"WorkingDirectory": b.dir + "/absent", "RunAtLoad": true})
	for _, label := range []string{"absent", "nolog", "nodir"} {
		b.Wait(0, "exit", label)
		if code := b.print(label, "last exit code"); code != "78: EX_CONFIG" {
			t.Errorf("%s: %s", label, code)
		}
	}
	b.spawns("absent", 3)
}
