package stack

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
)

func (r *rig) prepare(ctx context.Context, pairs ...string) *Prepared {
	r.Helper()
	d, err := r.engine.Prepare(ctx, r.project, r.values(pairs...))
	r.must(err)
	r.Cleanup(d.Abort)
	return d
}

// old says that everything is as the first delivery left it.
func (r *rig) old(when string, engines ...*Engine) {
	r.Helper()
	r.equal("files "+when, r.sh("a", "cat /run/secrets/ONE /run/secrets/two; ls -A /run/secrets"), canaryOne+canaryTwo+".stage\nONE\ntwo")
	for _, e := range engines {
		r.equal("stale "+when, r.stale(e), "map[]")
	}
}

const canaryNew = "canary-NEW-31b7"

// TestPreparedDelivery has one project for all: to make one takes longer than most of what is done to it.
func TestPreparedDelivery(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	r.feed("ONE", canaryOne, "TWO", canaryTwo)
	r.start("a", "b")
	for name, test := range map[string]func(*rig){
		"is committed":                           (*rig).preparedDeliveryIsCommitted,
		"is aborted":                             (*rig).preparedDeliveryIsAborted,
		"ends with its context":                  (*rig).preparedDeliveryEndsWithItsContext,
		"by a daemon that is killed":             (*rig).preparedByADaemonThatIsKilled,
		"with a keeper that is killed":           (*rig).keeperKilledWhileADeliveryIsPrepared,
		"leaves nothing staged behind":           (*rig).nothingStagedStaysBehind,
		"that fails is tidied by the next":       (*rig).failedDeliveryIsTidiedByTheNext,
		"that fails half way is mended":          (*rig).commitThatFailsHalfWayIsMended,
		"one at a time":                          (*rig).onePreparedDeliveryAtATime,
		"with nothing to do":                     (*rig).preparedWithNothingToDo,
		"makes stale what was started meanwhile": (*rig).serviceStartedWhileADeliveryIsPreparedIsStale,
		"is committed in a moment":               (*rig).commitIsShort,
	} {
		t.Run(name, func(t *testing.T) {
			sub := *r
			sub.T, sub.engine = t, dialReal(t) // what another one did before, this one may not know
			sub.feed("ONE", canaryOne, "TWO", canaryTwo)
			for _, service := range []string{"a", "b"} {
				sub.taken(service)
			}
			sub.old("to begin with", sub.engine, dialReal(t))
			test(&sub)
		})
	}
}

func (r *rig) staged() string {
	r.Helper()
	return r.sh("a", "ls -A /run/secrets/.stage")
}

func (r *rig) preparedDeliveryIsCommitted() {
	t := r.T
	d := r.prepare(t.Context(), "ONE", canaryNew, "TWO", canaryTwo)
	r.old("while it is prepared", r.engine, dialReal(t))
	r.equal("staged", r.staged(), "new.ONE\nnew.two\nrecord\nrecord.next")
	r.equal("fed", r.engine.Fed(r.seen()), true)
	delivery, err := d.Commit(t.Context())
	r.must(err)
	r.equal("changed", delivery.Changed, "[a b]")
	r.equal("complete", delivery.Complete, "[a b plain]")
	r.equal("a", r.sh("a", "cat /run/secrets/ONE /run/secrets/two"), canaryNew+canaryTwo)
	r.equal("b", r.sh("b", "cat /run/secrets/ONE"), canaryNew)
	r.equal("staged after it", r.staged(), "record")
	r.equal("stale", r.stale(r.engine), "map[a:true b:true]")
	r.equal("another daemon agrees", r.stale(dialReal(t)), "map[a:true b:true]")
	r.equal("fed", r.engine.Fed(r.seen()), true)
	if _, err := d.Commit(t.Context()); !errors.Is(err, ErrPreparedEnded) {
		t.Errorf("a second commit: %v", err)
	}
	d.Abort()
	r.equal("changed by a feed", r.feed("ONE", canaryNew, "TWO", canaryTwo).Changed, "[]")
	r.notInLayersNorInspect(canaryOne, canaryTwo, canaryNew)
}

func (r *rig) preparedDeliveryIsAborted() {
	t := r.T
	d := r.prepare(t.Context(), "ONE", canaryNew, "TWO", canaryTwo)
	d.Abort()
	d.Abort()
	r.old("after an abort", r.engine, dialReal(t))
	r.equal("staged", r.staged(), "record")
	r.equal("fed", r.engine.Fed(r.seen()), true)
	if _, err := d.Commit(t.Context()); !errors.Is(err, ErrPreparedEnded) {
		t.Errorf("commit after an abort: %v", err)
	}
	r.equal("changed by the old values", r.feed("ONE", canaryOne, "TWO", canaryTwo).Changed, "[]")
	r.old("after feeding them", r.engine)
	r.equal("changed by the new ones", r.feed("ONE", canaryNew, "TWO", canaryTwo).Changed, "[a b]")
}

func (r *rig) preparedDeliveryEndsWithItsContext() {
	t := r.T
	ctx, cancel := context.WithCancel(t.Context())
	r.prepare(ctx, "ONE", canaryNew, "TWO", canaryTwo)
	cancel() // and nobody calls Abort
	r.equal("changed by the old values", r.feed("ONE", canaryOne, "TWO", canaryTwo).Changed, "[]")
	r.old("after it", r.engine)
	r.equal("staged", r.staged(), "record")
	d := r.prepare(t.Context(), "ONE", canaryNew, "TWO", canaryTwo)
	if _, err := d.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("commit with a context that has ended: %v", err)
	}
	r.old("after it", r.engine, dialReal(t))
}

func (r *rig) preparedByADaemonThatIsKilled() {
	t := r.T
	d := r.prepare(t.Context(), "ONE", canaryNew, "TWO", canaryTwo)
	d.program.conn.Close() // what the kernel does for it
	r.eventually("the keeper's program tidied up", func() bool { return r.staged() == "record" })
	next := dialReal(t)
	r.old("to the next daemon", next)
	again, err := next.Feed(t.Context(), r.project, r.values("ONE", canaryOne, "TWO", canaryTwo))
	r.must(err)
	r.equal("changed by the old values", again.Changed, "[]")
	r.old("after feeding them", next)
	if _, err := d.Commit(t.Context()); err == nil {
		t.Error("committed over a connection that is gone")
	}
	r.old("after the attempt", r.engine, next)
	again, err = next.Feed(t.Context(), r.project, r.values("ONE", canaryNew, "TWO", canaryTwo))
	r.must(err)
	r.equal("changed by the new ones", again.Changed, "[a b]")
}

func (r *rig) keeperKilledWhileADeliveryIsPrepared() {
	t := r.T
	d := r.prepare(t.Context(), "ONE", canaryNew, "TWO", canaryTwo)
	keeper := r.container(KeeperService)
	r.must(r.engine.docker.ContainerKill(t.Context(), keeper.ID, "KILL"))
	_, err := d.Commit(t.Context())
	if err == nil || !strings.Contains(err.Error(), "keeper") {
		t.Errorf("commit: %v", err)
	}
	r.old("after it")
	r.equal("fed", r.engine.Fed(r.seen()), false)
	r.feed("ONE", canaryOne, "TWO", canaryTwo)
	r.old("after the old values", r.engine, dialReal(t))
	r.equal("staged", r.staged(), "record")
	r.equal("changed by the new ones", r.feed("ONE", canaryNew, "TWO", canaryTwo).Changed, "[a b]")
	r.equal("a", r.sh("a", "cat /run/secrets/ONE; ls -A /run/secrets/.stage"), canaryNew+"record")
}

// Whatever is killed between the copy and the renames, and with whom, the next delivery leaves nothing in the stage, also
// when it has nothing to deliver.
func (r *rig) nothingStagedStaysBehind() {
	t := r.T
	keeper, files := r.container(KeeperService), r.project.Services["a"].Files
	values := r.values("ONE", canaryNew, "TWO", canaryNew)
	left := func(fill func(*batch)) {
		t.Helper()
		b := newBatch()
		fill(b)
		r.must(r.engine.send(t.Context(), keeper, b))
	}
	next := func(pairs ...string) {
		t.Helper()
		_, err := dialReal(t).Feed(t.Context(), r.project, r.values(pairs...))
		r.must(err)
		r.equal("staged", r.staged(), "record")
	}
	begun, err := newRecord(record{}, files, values)
	r.must(err)
	left(func(b *batch) { b.stage("a", begun, files, values) }) // before the keeper's program was up
	r.equal("left", r.staged(), "new.ONE\nnew.two\nrecord\nrecord.next")
	next("ONE", canaryOne, "TWO", canaryTwo)
	left(func(b *batch) { // in the midst of the copy, under another compose file
		b.marshal("a/.stage/record.next", record{Open: true, Files: []string{"former"}})
		b.write(&tar.Header{Name: "a/.stage/new.former", Mode: 0o400}, []byte(canaryNew))
	})
	next("ONE", canaryOne, "TWO", canaryTwo)
	left(func(b *batch) { b.write(&tar.Header{Name: "a/.stage/record.next", Mode: 0o400}, []byte(`{"open`)) })
	next("ONE", canaryOne, "TWO", canaryTwo)
	r.old("after all that", r.engine)
	left(func(b *batch) { // in the midst of the renames; and now a value is missing
		b.record("a", record{Open: true, Files: []string{"ONE", "former", "two"}})
		b.write(&tar.Header{Name: "a/.stage/new.former", Mode: 0o400}, []byte(canaryNew))
		b.write(&tar.Header{Name: "a/.stage/new.two", Mode: 0o400}, []byte(canaryNew))
	})
	next("ONE", canaryOne)
}

// A delivery of this daemon's own that failed before it could give up is tidied by its next one.
func (r *rig) failedDeliveryIsTidiedByTheNext() {
	t := r.T
	d := r.prepare(t.Context(), "ONE", canaryNew, "TWO", canaryTwo)
	keeper := r.container(KeeperService)
	r.pause(keeper.ID)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := d.Commit(ctx); err == nil {
		t.Error("a paused keeper renamed files")
	}
	r.equal("paused is not fed", r.engine.Fed(r.seen()), false)
	r.must(d.program.Close())
	r.feed("ONE", canaryOne, "TWO", canaryTwo) // lets it go on
	r.equal("the keeper is the same", r.container(KeeperService).Instance, keeper.Instance)
	r.equal("a", r.sh("a", "cat /run/secrets/ONE; ls -A /run/secrets/.stage"), canaryOne+"record")
}

func (r *rig) commitThatFailsHalfWayIsMended() {
	t := r.T
	d := r.prepare(t.Context(), "ONE", canaryNew, "TWO", canaryTwo)
	result, err := r.engine.Exec(t.Context(), d.keeper.ID, Exec{Cmd: []string{"/keeper", "/s/b/.stage/new.ONE", ""}, Stdin: []byte("g")})
	r.must(err)
	r.equal("taken away", result.ExitCode, 0)
	if _, err := d.Commit(t.Context()); err == nil || !strings.Contains(err.Error(), "ended with 2") {
		t.Errorf("commit: %v", err)
	}
	r.equal("a is new, b old", r.sh("a", "cat /run/secrets/ONE")+r.sh("b", "cat /run/secrets/ONE"), canaryNew+canaryOne)
	r.equal("stale", r.stale(r.engine), "map[a:true b:true]")
	r.equal("another daemon agrees", r.stale(dialReal(t)), "map[a:true b:true]")
	r.equal("fed", r.engine.Fed(r.seen()), false)
	r.equal("changed by the old values", r.feed("ONE", canaryOne, "TWO", canaryTwo).Changed, "[a b]")
	r.equal("all old", r.sh("a", "cat /run/secrets/ONE")+r.sh("b", "cat /run/secrets/ONE"), canaryOne+canaryOne)
}

func (r *rig) onePreparedDeliveryAtATime() {
	t := r.T
	d := r.prepare(t.Context(), "ONE", canaryNew, "TWO", canaryTwo)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.engine.Prepare(ctx, r.project, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second one: %v", err)
	}
	if err := r.engine.MarkTaken(ctx, r.project, "a", ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("mark taken: %v", err)
	}
	fed := make(chan error, 1)
	values := r.values("ONE", "11", "TWO", canaryTwo)
	go func() {
		_, err := r.engine.Feed(t.Context(), r.project, values)
		fed <- err
	}()
	_, err := d.Commit(t.Context())
	r.must(err)
	r.must(<-fed)
	r.equal("the last one holds", r.sh("a", "cat /run/secrets/ONE"), "11")
}

func (r *rig) preparedWithNothingToDo() {
	t := r.T
	d := r.prepare(t.Context(), "ONE", canaryOne, "TWO", canaryTwo)
	delivery, err := d.Commit(t.Context())
	r.must(err)
	r.equal("changed", delivery.Changed, "[]")
	r.old("after it", r.engine)
	r.prepare(t.Context(), "ONE", canaryOne, "TWO", canaryTwo).Abort()
	r.equal("fed", r.engine.Fed(r.seen()), true)

	r.must(r.engine.docker.ContainerRemove(t.Context(), r.container(KeeperService).ID, container.RemoveOptions{Force: true}))
	if _, err := r.engine.Prepare(t.Context(), r.project, nil); !errors.Is(err, ErrNoContainer) {
		t.Errorf("without a keeper: %v", err)
	}
	r.create() // and nobody is locked out
	r.equal("changed", r.feed("ONE", canaryOne, "TWO", canaryTwo).Changed, "[]")
	r.old("with another keeper", r.engine)
}

func (r *rig) serviceStartedWhileADeliveryIsPreparedIsStale() {
	t := r.T
	d := r.prepare(t.Context(), "ONE", canaryNew, "TWO", canaryTwo)
	r.must(r.engine.Restart(t.Context(), r.container("b").ID, 0)) // it reads the old file
	_, err := d.Commit(t.Context())
	r.must(err)
	r.equal("stale", r.stale(r.engine), "map[a:true b:true]")
}

func TestASecretFileMayBeCalledAsTheRecord(t *testing.T) {
	r := newRig(t, strings.NewReplacer("target: two", "target: record", "secrets: [ONE, {", "secrets: [{ source: ONE, target: record.next }, {").Replace(twoServices))
	r.create()
	r.feed("ONE", canaryOne, "TWO", canaryTwo)
	r.feed("ONE", canaryNew, "TWO", canaryTwo)
	r.start("a")
	r.equal("files", r.sh("a", "cd /run/secrets; cat record record.next; ls -A .stage"), canaryTwo+canaryNew+"record")
	r.equal("stale", r.stale(dialReal(t)), "map[]")
}

// commitIsShort has a reader in a container that spins until it sees the new file: it sees the old one or the new
// one, whole, and says when. The time contains the way of its word back to here.
func (r *rig) commitIsShort() {
	t := r.T
	s, err := r.engine.Stream(t.Context(), r.container("a").ID, []string{"/bin/sh", "-c",
		`while read -r want; do last=; while [ "$last" != "$want" ]; do IFS= read -r now </run/secrets/ONE; [ "$now" = "$last" ] || { last=$now; echo "$now"; }; done; done`}, "")
	r.must(err)
	defer func() { r.must(s.Close()) }()
	out := bufio.NewReader(s)
	var times, all []time.Duration
	value := canaryOne
	for i := range 10 {
		next := fmt.Sprintf("canary-%05d-%s", i, strings.Repeat("x", 400))
		_, err := fmt.Fprintln(s, next)
		r.must(err)
		r.equal("before", r.line(out), value)
		d := r.prepare(t.Context(), "ONE", next, "TWO", canaryTwo)
		value = next
		begin, done := time.Now(), make(chan time.Duration, 1)
		go func() {
			_, err := d.Commit(t.Context())
			done <- time.Since(begin)
			if err != nil {
				t.Error(err)
			}
		}()
		r.equal("after", r.line(out), value)
		times = append(times, time.Since(begin))
		all = append(all, <-done)
	}
	slices.Sort(times)
	slices.Sort(all)
	t.Logf("commit to the new file seen: median %v, most %v; the whole commit: median %v", times[len(times)/2], times[len(times)-1], all[len(all)/2])
}
