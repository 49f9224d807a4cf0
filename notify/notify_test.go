package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minibot/config"
)

// heard is what came through a way, and when.
type heard struct {
	after   time.Duration
	message Message
}

// told is a rig whose one way is a stand-in, and which runs until the bubble's test ends.
type told struct {
	*rig
	t     *testing.T
	begin time.Time
	mu    sync.Mutex
	all   []heard
	fail  func() error // what sending comes to; nil succeeds
	stop  func()       // waits for the end
	now   map[string]Condition
}

// pass lets time go by, until all have come to rest.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// tells starts a notifier in a bubble. file may be one that another left.
func tells(t *testing.T, c config.Notify, file string) *told {
	c.Command = []string{"/stand-in"}
	x := &told{rig: newRig(t, c), t: t, begin: time.Now(), now: map[string]Condition{}}
	if file != "" {
		x.o.File = file
		x.Notifier = New(x.o)
	}
	x.ways[0].send = func(_ context.Context, m Message) error {
		if x.fail != nil {
			if err := x.fail(); err != nil {
				return err
			}
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		x.all = append(x.all, heard{time.Since(x.begin), m})
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); x.Serve(ctx) }()
	x.stop = func() { cancel(); <-done }
	t.Cleanup(x.stop)
	return x
}

// heard is what came so far.
func (x *told) heard() []heard {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.all)
}

// see says how a service stands now, and lets time pass.
func (x *told) see(service, kind string, then time.Duration) {
	x.now[service] = Condition{Kind: kind, Reason: "reason of " + kind, Seq: 5}
	conditions := map[string]Condition{}
	for k, v := range x.now {
		conditions[k] = v
	}
	x.See(Picture{Phase: "degraded", Conditions: conditions, Whole: true})
	if then > 0 {
		pass(then)
	}
	synctest.Wait()
}

func (x *told) said() string {
	var all []string
	for _, h := range x.heard() {
		all = append(all, fmt.Sprintf("%v %s %s", h.after, h.message.Service, h.message.Event))
	}
	return strings.Join(all, ", ")
}

func (x *told) want(want string) {
	x.t.Helper()
	if got := x.said(); got != want {
		x.t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestATroubleAndItsEndAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := tells(t, config.Notify{}, "")
		x.see("redis", Unknown, time.Minute)
		x.see("redis", Well, time.Minute)
		x.see("redis", Degraded, time.Minute)
		x.see("redis", Degraded, time.Minute)
		x.see("redis", Unknown, time.Minute) // restarting
		x.see("redis", Well, time.Minute)
		x.want("2m0s redis degraded, 5m0s redis recovered")
		m := x.heard()[0].message
		if m.Reason != "reason of degraded" || m.Host != "mini" || m.Phase != "degraded" || m.Seq != 5 || !m.Time.Equal(x.begin.Add(2*time.Minute)) {
			t.Errorf("%+v", m)
		}
	})
}

func TestATroubleThatLastsIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := tells(t, config.Notify{Repeat: "6h"}, "")
		x.see("", LockedDown, 13*time.Hour)
		x.see("", Well, 48*time.Hour)
		x.want("0s  locked-down, 6h0m0s  locked-down, 12h0m0s  locked-down, 13h0m0s  recovered")
	})
	synctest.Test(t, func(t *testing.T) {
		x := tells(t, config.Notify{Repeat: "0"}, "")
		x.see("a", Degraded, 1300*time.Hour)
		x.want("0s a degraded")
	})
}

func TestWhatIsAskedForIsTold(t *testing.T) {
	for _, test := range []struct {
		on   []string
		want string
	}{
		{[]string{"degraded"}, "degraded degraded"},
		{[]string{"recovered"}, ""},
		{[]string{"degraded", "recovered"}, "degraded recovered degraded recovered"},
		{[]string{"gave-up", "flapping"}, "gave-up flapping"},
		{[]string{"engine-unreachable"}, "engine-unreachable"},
		{config.NotifyKinds, "degraded recovered gave-up recovered flapping recovered engine-unreachable recovered locked-down recovered"},
	} {
		synctest.Test(t, func(t *testing.T) {
			x := tells(t, config.Notify{On: test.on}, "")
			for _, kind := range []string{Degraded, GaveUp, Flapping, EngineUnreachable, LockedDown} {
				x.see("a", kind, time.Hour)
				x.see("a", Well, time.Hour)
			}
			var got []string
			for _, h := range x.heard() {
				got = append(got, h.message.Event)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("%v: %v, want %v", test.on, got, test.want)
			}
		})
	}
}

// Who does not ask for flapping hears that the service is up again.
func TestAFlappingServiceThatRunsHasRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := tells(t, config.Notify{On: []string{"degraded", "recovered"}}, "")
		x.see("a", Degraded, time.Hour)
		x.see("a", Flapping, time.Hour)
		x.want("0s a degraded, 1h0m0s a recovered")
	})
}

// A service that comes and goes, in many ways, is told at most twice in half an hour, and as it is in the end.
func TestFlappingIsToldSeldomAndTheEndAlways(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			x := tells(t, config.Notify{Repeat: "0"}, "")
			for range 150 {
				kind := []string{Well, Degraded, GaveUp, Unknown}[random.IntN(4)]
				x.see("a", kind, time.Duration(random.Int64N(int64(10*time.Minute))))
			}
			last := []string{Well, Degraded}[random.IntN(2)]
			x.see("a", last, time.Hour)
			for i := range x.heard() {
				if i >= 2 && x.heard()[i].after-x.heard()[i-2].after < 30*time.Minute {
					t.Errorf("seed %d: three within half an hour: %v", seed, x.said())
				}
				if i >= 1 && x.heard()[i].message.Event == x.heard()[i-1].message.Event {
					t.Errorf("seed %d: told twice: %v", seed, x.said())
				}
			}
			if n := len(x.heard()); n < 10 || (x.heard()[n-1].message.Event == recovered) != (last == Well) {
				t.Errorf("seed %d: the end is %q: %v", seed, last, x.said())
			}
		})
	}
}

func TestManyServicesAtOnceAreNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := tells(t, config.Notify{}, "")
		for i := range 200 {
			x.see(fmt.Sprint("s", i), Degraded, 0)
		}
		pass(29 * time.Minute)
		if len(x.heard()) != perWay {
			t.Errorf("%d messages", len(x.heard()))
		}
		pass(4 * time.Hour)
		if len(x.heard()) != 200 {
			t.Errorf("%d messages in the end", len(x.heard()))
		}
	})
}

func TestARestartTellsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := tells(t, config.Notify{}, "")
		for _, service := range []string{"stays", "mends", "goes"} {
			first.see(service, Degraded, time.Minute)
		}
		first.stop()
		second := tells(t, config.Notify{}, first.o.File)
		second.See(Picture{Phase: "waiting-for-store", Conditions: map[string]Condition{"": {Kind: Unknown}}})
		pass(time.Minute)
		second.now = map[string]Condition{"stays": {Kind: Unknown}, "mends": {Kind: Unknown}}
		second.see("mends", Unknown, time.Minute)
		second.see("stays", Degraded, time.Minute)
		second.see("mends", Well, time.Minute)
		second.want("3m0s mends recovered")
		if _, there := second.told[second.ways[0].name]["goes"]; there {
			t.Error("a service that has gone is remembered")
		}
	})
}

func TestADamagedFileIsSaidAndBegunAnew(t *testing.T) {
	for _, text := range []string{"{", "null", "[]", `{"command":{"a":{"event":7}}}`, `{"command":null}`} {
		synctest.Test(t, func(t *testing.T) {
			file := t.TempDir() + "/notify.json"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			x := tells(t, config.Notify{}, file)
			x.see("a", Degraded, time.Minute)
			x.want("0s a degraded")
			kept, err := os.ReadFile(file)
			if err != nil || !json.Valid(kept) || !strings.Contains(string(kept), `"degraded"`) {
				t.Errorf("%s, %v", kept, err)
			}
			if strings.Contains(x.log.String(), "not known any more") != (text != `{"command":null}`) {
				t.Errorf("%s: %s", text, x.log.String())
			}
		})
	}
}

// A way that fails for hours neither forgets nor tells what was meanwhile; it says so once.
func TestAWayThatFailsTellsHowItStandsInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := tells(t, config.Notify{}, "")
		attempts := []time.Duration{}
		x.fail = func() error {
			attempts = append(attempts, time.Since(x.begin))
			if time.Since(x.begin) < 5*time.Hour {
				return errors.New("it answers 500")
			}
			return nil
		}
		x.see("a", Degraded, 2*time.Hour)
		x.see("a", Well, time.Hour)
		x.see("a", Degraded, 4*time.Hour)
		if len(x.heard()) != 1 || x.heard()[0].message.Event != Degraded || len(attempts) > 12 || attempts[1] != 5*time.Minute || attempts[2] != 15*time.Minute {
			t.Errorf("%s; tried %v", x.said(), attempts)
		}
		if n := strings.Count(x.log.String(), "was not sent"); n != 1 || !strings.Contains(x.log.String(), "are sent again") {
			t.Errorf("%s", x.log.String())
		}
	})
}

// Whoever reports how things stand waits for nobody, and nothing piles up.
func TestSeeNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := tells(t, config.Notify{}, "")
		release, sending := make(chan struct{}), 0
		x.fail = func() error { sending++; <-release; return nil }
		for i := range 100_000 {
			x.see("a", []string{Well, Degraded}[i%2], 0)
		}
		if sending != 1 || time.Since(x.begin) != 0 {
			t.Errorf("%d are under way after %v", sending, time.Since(x.begin))
		}
		close(release)
		pass(time.Hour)
		if last := x.heard()[len(x.heard())-1].message.Event; last != Degraded || len(x.heard()) > 3 {
			t.Errorf("%s", x.said())
		}
	})
}

func TestTheHeartbeatIsCalledWhileHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := tells(t, config.Notify{HeartbeatURL: "https://example.com/x", HeartbeatEvery: "1m"}, "")
		x.stop()
		var calls []time.Duration
		var mu sync.Mutex
		var fails error
		x.heartbeat = func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, time.Since(x.begin).Round(time.Second))
			return fails
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); x.Serve(ctx) }()
		pass(150 * time.Second)
		for _, healthy := range []bool{true, false, true} {
			x.See(Picture{Healthy: healthy})
			pass(2 * time.Minute)
		}
		mu.Lock()
		fails = errors.New("it answers 500")
		mu.Unlock()
		pass(5 * time.Minute)
		mu.Lock()
		fails = nil
		mu.Unlock()
		pass(time.Minute)
		cancel()
		<-done
		want := []time.Duration{180, 240, 420, 480, 540, 600, 660, 720, 780, 840}
		for i := range want {
			want[i] *= time.Second
		}
		if !slices.Equal(calls, want) {
			t.Errorf("called at %v, want %v", calls, want)
		}
		if log := x.log.String(); strings.Count(log, "not heard") != 1 || strings.Count(log, "heard again") != 1 {
			t.Errorf("%s", log)
		}
	})
}
