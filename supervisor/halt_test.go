package supervisor

import (
	"testing"
	"time"
)

func TestHalted(t *testing.T) {
	simulate(t, stack(), func(r *rig) {
		r.phase(AllHealthy)
		r.taken()
		halted := stack()
		halted.Halted, halted.Create = true, 7
		for name, s := range halted.Services {
			s.Stopped = true
			halted.Services[name] = s
		}
		r.Apply(halted)
		r.phase(AllStopped)
		if at := r.times(); !at[0].Equal(at[1]) || !at[1].Equal(at[2]) {
			t.Errorf("not all at once: %v", at)
		}
		r.after(time.Minute)
		r.want("kill app", "kill cache", "kill db", "withdraw")
		for range 3 { // by hand
			r.locked(func() {
				if err := r.start("cache", r.boxes["cache"]); err != nil {
					t.Error(err)
				}
			})
			r.after(time.Second)
			r.want("kill cache")
		}
		r.after(time.Hour)
		r.want()
		again := stack()
		again.Create = 7
		r.Apply(again)
		r.phase(AllHealthy)
		r.want("create", "feed", "start cache", "start db", "start app")
	})
}

func TestHeld(t *testing.T) {
	w := stack()
	cache := w.Services["cache"]
	cache.Held = "waits for the password of db"
	w.Services["cache"] = cache
	simulate(t, w, func(r *rig) {
		r.after(time.Minute)
		r.want("create", "feed", "start db")
		s := r.phase(Converging)
		if c, _ := s.Service("cache"); c.State != "waiting" || c.Reason != cache.Held || c.Stuck {
			t.Errorf("%+v", c)
		}
		cache.HeldHint = "start db"
		w.Services["cache"] = cache
		r.Apply(w)
		s = r.phase(Degraded)
		if c, _ := s.Service("cache"); c.Hint != "start db" || !c.Stuck {
			t.Errorf("%+v", c)
		}
		r.Apply(stack())
		r.phase(AllHealthy)
		r.want("start cache", "start app")
	})
}
