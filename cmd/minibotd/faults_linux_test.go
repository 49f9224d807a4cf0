package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"minibot/control"
)

// faults are what can go wrong. Each returns when the fault is over.
var faults = []struct {
	name   string
	inject func(*faulty)
}{
	{"SIGTERM of dockerd", func(f *faulty) { f.signal("dockerd.pid", syscall.SIGTERM) }},
	{"SIGKILL of dockerd", func(f *faulty) { f.signal("dockerd.pid", syscall.SIGKILL) }},
	{"SIGTERM of containerd", func(f *faulty) { f.signal("exec/containerd/containerd.pid", syscall.SIGTERM) }},
	{"SIGKILL of containerd", func(f *faulty) { f.signal("exec/containerd/containerd.pid", syscall.SIGKILL) }},
	{"socket removed", func(f *faulty) { f.behindItsBack(func() { f.docker("kill", f.container("c")) }) }},
	{"remains of a run", (*faulty).leaveRemains},
	{"remains of a run of the keeper", (*faulty).leaveRemainsOfTheKeeper},
	{"answers late", func(f *faulty) { f.flawed(flaw{delay: 100 * time.Millisecond}, healed) }},
	{"answers slow", func(f *faulty) { f.flawed(flaw{rate: 32 << 10}, healed) }},
	{"connections cut", func(f *faulty) { f.flawed(flaw{cut: 700}, noticed) }},
	{"connections half closed", func(f *faulty) { f.flawed(flaw{half: 700}, noticed) }},
	{"answers corrupted", func(f *faulty) { f.flawed(flaw{corrupt: 500}, aWhile) }},
	{"no answers", func(f *faulty) { f.flawed(flaw{hang: true}, askedAndNoticed) }},
	{"paused", (*faulty).pause},
	{"disk full", (*faulty).fillDisk},
	{"out of memory", (*faulty).exhaust},
	{"all killed", (*faulty).killAll},
	{"network removed", (*faulty).removeNetwork},
	{"volume removed", (*faulty).removeVolume},
	{"keeper's volume removed", (*faulty).removeKeeper},
	{"replaced by hand", (*faulty).replace},
	{"name taken", (*faulty).takeName},
}

// signal sends a signal to one of the engine's processes, and waits until another one has its place.
func (f *faulty) signal(file string, s syscall.Signal) {
	f.t.Helper()
	pid := func() int {
		text, err := os.ReadFile(filepath.Join(f.dir, "run", file))
		if err != nil {
			return 0
		}
		n, _ := strconv.Atoi(strings.TrimSpace(string(text))) // 0: it is being written
		return n
	}
	before := pid()
	if before == 0 {
		f.t.Fatalf("no process in %s", file)
	}
	if err := syscall.Kill(before, s); err != nil {
		f.t.Fatal(err)
	}
	f.poll("the engine answers again", time.Minute, func() bool {
		now := pid()
		return now != 0 && now != before && f.dockerCommand("", "ps", "-q").Run() == nil
	}, func() string { return strconv.Itoa(pid()) })
}

// behindItsBack takes the socket away, does something, and brings the socket back once its loss was noticed.
func (f *faulty) behindItsBack(do func()) {
	f.t.Helper()
	away := f.wire.socket + ".away"
	if err := os.Rename(f.wire.socket, away); err != nil {
		f.t.Fatal(err)
	}
	f.wire.drop()
	do()
	noticed(f, "")
	if err := os.Rename(away, f.wire.socket); err != nil {
		f.t.Fatal(err)
	}
}

func (f *faulty) leaveRemains() { f.behindItsBack(func() { f.remainsOf(f.container("c")) }) }

func (f *faulty) leaveRemainsOfTheKeeper() {
	f.behindItsBack(func() { f.remainsOf(f.name + "-keeper-1") })
}

// remainsOf kills a container and leaves what containerd trips over at its next start, as a restart of the engine sometimes does.
func (f *faulty) remainsOf(name string) {
	f.t.Helper()
	f.docker("kill", name)
	id := strings.TrimSpace(f.docker("inspect", "-f", "{{.Id}}", name))
	bundle := filepath.Join(f.dir, "run/exec/containerd/daemon/io.containerd.runtime.v2.task/moby", id)
	f.poll("its end", time.Minute, func() bool { return os.Mkdir(bundle, 0o700) == nil }, func() string { return bundle })
}

// flawed gives the wire a flaw, kills a service, and takes the flaw away when over returns.
func (f *faulty) flawed(w flaw, over func(f *faulty, before string)) {
	f.t.Helper()
	before := f.started("c")
	f.wire.set(w)
	if w.cut > 0 || w.half > 0 {
		f.wire.drop() // those that stand would count from where they are
	}
	f.docker("kill", f.container("c"))
	over(f, before)
	f.wire.set(flaw{})
}

// healed: the daemon copes with the flaw.
func healed(f *faulty, before string) {
	f.t.Helper()
	f.poll("healed while the flaw lasts", wellWithin, func() bool { return f.runsSince("c", before) }, func() string { return "c does not run" })
}

// noticed: the daemon says that the engine does not answer.
func noticed(f *faulty, _ string) {
	f.t.Helper()
	s := f.until("waiting for the engine", time.Minute, func(s control.Status) bool { return s.Phase == control.PhaseWaitingForEngine })
	if s.Reason == "" || s.Hint == "" {
		f.t.Errorf("nothing says why, or what to do: %+v", s)
	}
}

// askedAndNoticed is noticed for a hang, which shows at the next look: a reload asks for one.
func askedAndNoticed(f *faulty, before string) {
	f.t.Helper()
	reload := exec.Command(f.built("minibotd"), "reload")
	reload.Env = f.environ()
	if err := reload.Start(); err != nil {
		f.t.Fatal(err)
	}
	noticed(f, before)
	_ = reload.Process.Kill() // it may have ended
	_ = reload.Wait()         // likewise
}

// aWhile passes, whatever happens.
func aWhile(f *faulty, before string) {
	end := time.Now().Add(3 * time.Second)
	f.poll("a while", time.Minute, func() bool { return time.Now().After(end) || f.runsSince("c", before) }, func() string { return "" })
}

// pause pauses a service, which is somebody's will until it is unpaused.
func (f *faulty) pause() {
	before := f.started("b")
	f.docker("pause", f.container("b"))
	f.until("paused", time.Minute, func(s control.Status) bool { return s.Phase != control.PhaseHealthy })
	f.docker("unpause", f.container("b"))
	if after := f.started("b"); after != before {
		f.t.Errorf("b was not left alone though it was only paused: %s, then %s", before, after)
	}
}

// fillDisk leaves no room for the engine's files until a service that was killed has failed to start, or has started all the same.
func (f *faulty) fillDisk() {
	ballast := filepath.Join(f.dir, "state", "ballast")
	file, err := os.Create(ballast)
	if err != nil {
		f.t.Fatal(err)
	}
	for piece := make([]byte, 64<<10); err == nil; {
		_, err = file.Write(piece)
	}
	if !errors.Is(err, unix.ENOSPC) {
		f.t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		f.t.Fatal(err)
	}
	before := f.started("c")
	if out, err := f.dockerCommand("", "kill", f.container("c")).CombinedOutput(); err != nil && !strings.Contains(string(out), "is not running") { // a check may have killed it by now
		f.t.Fatalf("%v: %s", err, out)
	}
	f.poll("c has failed or started", wellWithin, func() bool {
		s, err := f.status()
		return err == nil && strings.Contains(service(s, "c").Reason, "no space left") || f.runsSince("c", before)
	}, func() string {
		s, err := f.status()
		return strings.TrimSpace(service(s, "c").Reason) + " " + errText(err)
	})
	if err := os.Remove(ballast); err != nil {
		f.t.Fatal(err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// exhaust has a service killed for its memory.
func (f *faulty) exhaust() {
	before := f.started("c")
	f.docker("kill", "--signal", "USR1", f.container("c"))
	f.poll("killed and started again", wellWithin, func() bool { return f.runsSince("c", before) }, func() string { return f.started("c") })
	// a busy engine does not always notice why: see docs/facts.md
	if out := f.must("", "minibotd", "events"); !strings.Contains(out, "exited with 137") {
		f.t.Errorf("no event tells that it was killed:\n%s", out)
	}
}

func (f *faulty) killAll() {
	var names []string
	for _, c := range f.containers() {
		names = append(names, c[0])
	}
	f.docker(append([]string{"kill"}, names...)...)
}

// removeNetwork takes the network away while no service runs, as `docker network prune` would: none of them can start as it is.
func (f *faulty) removeNetwork() {
	network := f.name + "_default"
	f.behindItsBack(func() {
		f.docker("kill", f.container("a"), f.container("b"), f.container("c"))
		f.docker("network", "rm", network)
	})
	f.poll("all on the network", wellWithin, func() bool {
		return strings.Count(f.tryDocker("ps", "--filter", "network="+network, "--format", "{{.Names}}"), f.name) == 3
	}, func() string { return f.tryDocker("ps", "-a") })
}

// removeVolume takes a service's data away.
func (f *faulty) removeVolume() {
	f.behindItsBack(func() {
		f.docker("rm", "-f", f.container("c"))
		f.docker("volume", "rm", f.name+"_kept")
	})
}

// removeKeeper takes the keeper away with the volume that nobody else holds.
func (f *faulty) removeKeeper() {
	f.behindItsBack(func() {
		f.docker("rm", "-f", f.name+"-keeper-1")
		ours := strings.Fields(f.docker("volume", "ls", "-q", "--filter", "dangling=true", "--filter", "label=com.docker.compose.project="+f.name))
		f.docker(append([]string{"volume", "rm"}, ours...)...)
	})
}

// replace puts a container of somebody else's into a service's place, as compose by hand would.
func (f *faulty) replace() {
	f.behindItsBack(func() {
		f.docker("rm", "-f", f.container("b"))
		f.docker("run", "-d", "--name", f.container("b"), "--network", "none", "--label", "com.docker.compose.project="+f.name,
			"--label", "com.docker.compose.service=b", "--label", "com.docker.compose.oneoff=False", "--label", "com.docker.compose.container-number=1",
			"--entrypoint", "sleep", image("MINIBOT_REDIS_IMAGE"), "3600")
	})
}

// takeName gives a service's name to a container that is nobody's business here. Only a person can mend that, and hears how.
func (f *faulty) takeName() {
	f.t.Helper()
	f.behindItsBack(func() {
		f.docker("rm", "-f", f.container("b"))
		f.docker("run", "-d", "--name", f.container("b"), "--network", "none", "--entrypoint", "sleep", image("MINIBOT_REDIS_IMAGE"), "3600")
	})
	s := f.until("refused", time.Minute, func(s control.Status) bool { return strings.Contains(s.Reason, "already in use") })
	if !strings.Contains(s.Hint, "docker rename "+f.container("b")) {
		f.t.Errorf("no hint what to do: %q, %q", s.Reason, s.Hint)
	}
	f.docker("rm", "-f", f.container("b"))
	f.must("", "minibotd", "reload")
}
