package supervisor

import (
	"testing"
	"testing/synctest"
	"time"
)

// storm makes 5,000 events a second about a service to which nothing happens.
func (r *rig) storm(during time.Duration) (end func()) {
	const every = 200 * time.Microsecond
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for range during / every {
			r.locked(func() { r.event("cache") })
			<-tick.C
		}
	}()
	return func() { <-ended }
}

// issuedAfter is how long after a fault the first action came.
func (r *rig) issuedAfter(fault func()) time.Duration {
	r.t.Helper()
	r.taken()
	began := time.Now()
	fault()
	r.after(paceEvery)
	times := r.times()
	if len(times) == 0 {
		r.t.Fatalf("nothing was done within %v", paceEvery)
	}
	return times[0].Sub(began)
}

// A storm is answered by few looks, and delays what else happens by no more than the time between two of them; without
// one nothing waits.
func TestStormOfEvents(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		r.phase(AllHealthy)
		r.after(time.Minute)
		if late := r.issuedAfter(func() { r.kill("cache") }); late != 0 {
			t.Errorf("without a storm the heal began %v after the fault", late)
		}
		r.after(time.Minute)
		end, before := r.storm(2*time.Second), r.observed()
		r.after(1501 * time.Millisecond)
		looks := r.observed() - before
		if most := 1 + int((paceBurst+1501*time.Millisecond)/paceEvery); looks > most || looks < most/2 {
			t.Errorf("%d looks, at most %d", looks, most)
		}
		r.issuedAfter(func() { r.kill("db") })
		end()
		r.phase(AllHealthy)
	})
}

// A look that takes long is followed by a longer pause in a storm, by none without.
func TestPaceOfSlowLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const took = 100 * time.Millisecond
		wait := func(p *pace) time.Duration {
			t.Helper()
			began := time.Now()
			if err := p.wait(t.Context(), nil, took); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		}
		p := &pace{}
		for range int(paceBurst / (paceShare * took)) {
			if got := wait(p); got != 0 {
				t.Errorf("a first look waits for %v", got)
			}
		}
		wait(p)
		if got := wait(p); got != paceShare*took {
			t.Errorf("a look in a storm waits for %v, want %v", got, paceShare*took)
		}
		<-time.After(paceBurst)
		if got := wait(p); got != 0 {
			t.Errorf("a look after the storm waits for %v", got)
		}
	})
}

// What a look did not see is looked at soon, without another event.
func TestMoreToSee(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		r.phase(AllHealthy)
		r.after(time.Minute)
		r.locked(func() { r.more = 3 })
		before := r.observed()
		r.Wake()
		r.after(time.Second)
		if looks := r.observed() - before; looks != 4 {
			t.Errorf("%d looks, want the one that was asked for and three more", looks)
		}
	})
}
