package stack

import (
	"archive/tar"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"minibot/secrets"
)

const twoServices = `
services:
  a:
    image: IMAGE
    entrypoint: SLEEP
    network_mode: none
    secrets: [ONE, { source: TWO, target: two, uid: "1000", gid: "1001", mode: 0400 }]
  b:
    image: IMAGE
    entrypoint: SLEEP
    network_mode: none
    secrets: [ONE]
    x-minibot: { on_change: signal, signal: SIGHUP }
  plain: { image: IMAGE, network_mode: none, entrypoint: SLEEP }
secrets:
  ONE: { environment: ONE }
  TWO: { environment: TWO }
`

const canaryOne, canaryTwo = "canary-ONE-5f0c", "canary-TWO-77aa"

func TestDelivery(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	if r.engine.Fed(r.seen()) {
		t.Error("fed before the first delivery")
	}
	r.equal("the keeper waits for it", r.container(KeeperService).Running, true)
	d := r.feed("ONE", canaryOne, "TWO", canaryTwo)
	r.equal("changed", d.Changed, "[a b]")
	r.equal("complete", d.Complete, "[a b plain]")
	r.equal("fed", r.engine.Fed(r.seen()), true)
	r.start("a", "b", "plain")
	r.equal("one", r.sh("a", "cat /run/secrets/ONE"), canaryOne)
	r.equal("two", r.sh("a", "cat /run/secrets/two"), canaryTwo)
	r.equal("owners and modes", r.sh("a", "cd /run/secrets; stat -c '%n %u %g %a' ONE two .stage"), "ONE 0 0 444\ntwo 1000 1001 400\n.stage 64500 64500 700")
	r.equal("b has its own alone", r.sh("b", "ls /run/secrets"), "ONE")
	r.equal("nothing for plain", r.sh("plain", "ls -A /run/secrets 2>/dev/null || true"), "")
	r.equal("a write", r.sh("a", "echo x 2>/dev/null >/run/secrets/ONE && echo written || echo refused"), "refused")
	r.equal("the filesystem", r.sh("a", "stat -f -c %T /run/secrets"), "tmpfs")
	if r.engine.noswap && !strings.Contains(r.sh("a", "grep ' /run/secrets ' /proc/mounts"), "noswap") {
		t.Error("the volume may be swapped out")
	}
	r.equal("nobody is stale", r.stale(r.engine), "map[]")
	d = r.feed("ONE", canaryOne, "TWO", canaryTwo)
	r.equal("changed the second time", d.Changed, "[]")

	r.must(r.engine.Restart(t.Context(), r.container("a").ID, 0))
	r.equal("two after a restart", r.sh("a", "cat /run/secrets/two"), canaryTwo)
	r.notInLayersNorInspect(canaryOne, canaryTwo)
}

// notInLayersNorInspect looks for values where they must never be.
func (r *rig) notInLayersNorInspect(canaries ...string) {
	r.Helper()
	for service, c := range r.seen() {
		changes, err := r.engine.docker.ContainerDiff(r.Context(), c.ID)
		r.must(err)
		for _, change := range changes {
			if strings.HasPrefix(change.Path, "/run/secrets/") || strings.HasPrefix(change.Path, "/s/") && strings.Count(change.Path, "/") > 2 {
				r.Errorf("%s: %s is in the layer", service, change.Path)
			}
		}
		_, raw, err := r.engine.docker.ContainerInspectWithRaw(r.Context(), c.ID, false)
		r.must(err)
		export, err := r.engine.docker.ContainerExport(r.Context(), c.ID)
		r.must(err)
		layer := exported(r, export)
		r.must(export.Close())
		for _, canary := range canaries {
			if strings.Contains(string(raw), canary) || strings.Contains(layer, canary) {
				r.Errorf("%s: %s shows", service, canary)
			}
		}
	}
}

// exported is the content of the small files of an exported container.
func exported(r *rig, archive io.Reader) string {
	r.Helper()
	var text strings.Builder
	for files := tar.NewReader(archive); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return text.String()
		}
		r.must(err)
		if header.Size < 1<<16 {
			_, err = io.Copy(&text, files)
			r.must(err)
		}
	}
}

func TestStaleUntilTaken(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	r.feed("ONE", "1", "TWO", "2")
	r.start("a", "b")
	r.equal("after start", r.stale(r.engine), "map[]")
	d := r.feed("ONE", "1", "TWO", "22")
	r.equal("changed", d.Changed, "[a]")
	r.equal("one changed", r.stale(r.engine), "map[a:true]")
	r.feed("ONE", "11", "TWO", "22")
	r.equal("both changed, a twice", r.stale(r.engine), "map[a:true b:true]")

	t.Run("another daemon finds out", func(t *testing.T) {
		other := dialReal(t)
		r.equal("stale", r.stale(other), "map[a:true b:true]")
		d, err := other.Feed(t.Context(), r.project, r.values("ONE", "11", "TWO", "22"))
		r.must(err)
		r.equal("changed", d.Changed, "[]")
		r.equal("stale still", r.stale(other), "map[a:true b:true]")
	})
	r.must(r.engine.Restart(t.Context(), r.container("a").ID, 0))
	r.equal("a restarted", r.stale(r.engine), "map[b:true]")
	r.must(r.engine.Signal(t.Context(), r.container("b").ID, "SIGCONT"))
	before, err := r.engine.Delivered(t.Context(), r.project, "b")
	r.must(err)
	r.feed("ONE", "111", "TWO", "22")
	r.must(r.engine.MarkTaken(t.Context(), r.project, "b", before))
	r.equal("both changed, b after it was told to take it", r.stale(r.engine), "map[a:true b:true]")
	r.taken("a")
	r.taken("b")
	r.equal("b took it", r.stale(r.engine), "map[]")
	r.equal("and another daemon knows", r.stale(dialReal(t)), "map[]")
}

// taken marks what is delivered as taken.
func (r *rig) taken(service string) {
	r.Helper()
	mark, err := r.engine.Delivered(r.Context(), r.project, service)
	r.must(err)
	r.must(r.engine.MarkTaken(r.Context(), r.project, service, mark))
}

func TestInterruptedDeliveryIsDoneAgain(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	r.feed("ONE", "1", "TWO", "2")
	r.start("a", "b")
	// What a daemon leaves that is killed during the renames: the records are the open ones, the files are mixed.
	values := r.values("ONE", "11", "TWO", "2")
	d, err := r.engine.Prepare(t.Context(), r.project, values)
	r.must(err)
	defer d.Abort()
	b := newBatch()
	for _, o := range d.orders {
		b.record(o.service, o.record)
	}
	r.must(r.engine.send(t.Context(), d.keeper, b))
	r.must(d.program.Close())
	r.equal("readers see the old file", r.sh("a", "cat /run/secrets/ONE"), "1")

	next := dialReal(t)
	r.equal("stale to the next daemon", r.stale(next), "map[a:true b:true]")
	again, err := next.Feed(t.Context(), r.project, values)
	r.must(err)
	r.equal("changed", again.Changed, "[a b]")
	r.equal("delivered", r.sh("a", "cat /run/secrets/ONE; ls -A /run/secrets/.stage"), "11record")
	r.equal("stale", r.stale(next), "map[a:true b:true]")
}

func TestInstanceThatAppearsDuringADeliveryIsStale(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	r.feed("ONE", "1", "TWO", "2")
	keeper := r.container(KeeperService)
	files, values := r.project.Services["b"].Files, r.values("ONE", "11", "TWO", "2")
	begun, err := newRecord(record{}, files, values)
	r.must(err)
	r.start("b") // by hand, between the beginning and the end
	r.must(r.engine.conclude(t.Context(), r.project, keeper, []order{{service: "b", files: files, record: begun}}))
	r.equal("stale", r.stale(r.engine), "map[b:true]")
	r.equal("another daemon agrees", r.stale(dialReal(t)), "map[b:true]")
}

func TestKeeperReplacedDuringADelivery(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	r.feed("ONE", "1", "TWO", "2")
	keeper := r.container(KeeperService)
	r.must(r.engine.docker.ContainerRestart(t.Context(), keeper.ID, container.StopOptions{}))
	if err := r.engine.conclude(t.Context(), r.project, keeper, nil); err == nil {
		t.Error("the delivery to a keeper that is gone succeeded")
	}
	r.equal("fed", r.engine.Fed(r.seen()), false)
}

func TestOnChangeNoneIsNeverStale(t *testing.T) {
	r := newRig(t, strings.Replace(twoServices, "on_change: signal, signal: SIGHUP", "on_change: none", 1))
	r.create()
	r.feed("ONE", "1", "TWO", "2")
	r.start("a", "b")
	r.feed("ONE", "11", "TWO", "2")
	r.equal("stale", r.stale(r.engine), "map[a:true]")
	r.equal("but delivered", r.sh("b", "cat /run/secrets/ONE"), "11")
}

func TestTornRecordIsDeliveredAnew(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	r.feed("ONE", "1", "TWO", "2")
	r.start("a", "b")
	b := newBatch()
	b.write(&tar.Header{Name: "a/.stage/record", Mode: 0o400}, []byte(`{"finger`))
	r.must(r.engine.send(t.Context(), r.container(KeeperService), b))
	next := dialReal(t)
	d, err := next.Feed(t.Context(), r.project, r.values("ONE", "1", "TWO", "2"))
	r.must(err)
	r.equal("changed", d.Changed, "[a]")
	r.equal("stale", r.stale(next), "map[a:true]")
}

func TestKeeperLost(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	r.feed("ONE", "1", "TWO", "2")
	r.start("a")
	keeper := r.container(KeeperService)
	r.must(r.engine.docker.ContainerKill(t.Context(), keeper.ID, "KILL"))
	r.eventually("the keeper is down", func() bool { return !r.container(KeeperService).Running })
	r.equal("fed", r.engine.Fed(r.seen()), false)
	r.equal("a keeps its files", r.sh("a", "cat /run/secrets/ONE"), "1")
	d := r.feed("ONE", "1", "TWO", "2")
	r.equal("b had nobody who held its files", d.Changed, "[b]")
	r.equal("fed", r.engine.Fed(r.seen()), true)
	r.equal("nobody restarts for that", r.stale(r.engine), "map[]")
	r.start("b")
	r.equal("b is fed", r.sh("b", "cat /run/secrets/ONE"), "1")
}

func TestMissingValues(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	d := r.feed("ONE", "1")
	r.equal("incomplete", d.Incomplete, map[string][]secrets.Name{"a": {"TWO"}})
	r.equal("complete", d.Complete, "[b plain]")
	r.start("a", "b")
	r.equal("a got nothing", r.sh("a", "ls -A /run/secrets"), "")
	r.equal("b got its own", r.sh("b", "cat /run/secrets/ONE"), "1")
}

func TestWhatIsNotWantedGoes(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	r.feed("ONE", "1", "TWO", "2")
	r.start("a", "b", "plain")
	before := r.container("b")
	r.load(strings.Replace(twoServices, "secrets: [ONE, {", "secrets: [{", 1))
	r.create()
	r.feed("ONE", "1", "TWO", "2")
	r.equal("a's files", r.sh("a", "cd /run/secrets; find . -type f | sort"), "./.stage/record\n./two")
	r.equal("b was left alone", r.container("b").Instance, before.Instance)
	r.equal("stale", r.stale(r.engine), "map[a:true]")
	r.load(strings.Replace(twoServices, "plain: { image: IMAGE,", "plain: { image: IMAGE, secrets: [TWO],", 1))
	r.create() // the keeper is replaced: it holds another volume
	r.equal("fed", r.engine.Fed(r.seen()), false)
	d := r.feed("ONE", "1", "TWO", "2")
	r.equal("changed", d.Changed, "[a plain]")
	r.equal("b did not notice", r.container("b").Instance, before.Instance)
}

func TestLargeAndAwkwardValues(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	large := strings.Repeat("x", secrets.MaxValueSize)
	awkward := "a b'\"$HOME\n\\ü\r\n"
	r.feed("ONE", large, "TWO", awkward)
	r.start("a")
	r.equal("size", r.sh("a", "wc -c </run/secrets/ONE"), secrets.MaxValueSize)
	result, err := r.engine.Exec(t.Context(), r.container("a").ID, Exec{Cmd: []string{"cat", "/run/secrets/two"}})
	r.must(err)
	if string(result.Stdout) != awkward {
		t.Errorf("got %q", result.Stdout)
	}
}

func TestWithdraw(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	r.feed("ONE", "1", "TWO", "2")
	r.start("a")
	if err := r.engine.Withdraw(t.Context(), r.project); !errors.Is(err, ErrStillRunning) {
		t.Errorf("while a runs: %v", err)
	}
	r.must(r.engine.Stop(t.Context(), r.container("a").ID, 0))
	r.must(r.engine.Withdraw(t.Context(), r.project))
	if _, err := r.engine.Container(t.Context(), r.project, KeeperService); !errors.Is(err, ErrNoContainer) {
		t.Errorf("the keeper is there: %v", err)
	}
	r.equal("fed", r.engine.Fed(r.seen()), false)
	r.must(r.engine.Withdraw(t.Context(), r.project))
	r.start("a")
	r.equal("a's files", r.sh("a", "ls -A /run/secrets"), "")
	r.must(r.engine.Stop(t.Context(), r.container("a").ID, 0))
	if _, err := r.engine.Feed(t.Context(), r.project, nil); !errors.Is(err, ErrNoContainer) {
		t.Errorf("feed without a keeper: %v", err)
	}
	r.create()
	r.feed("ONE", "1", "TWO", "2")
	r.start("a")
	r.equal("a is fed again", r.sh("a", "cat /run/secrets/two"), "2")
}
