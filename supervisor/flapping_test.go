package supervisor

import (
	"strings"
	"testing"
	"time"
)

func TestFlapping(t *testing.T) {
	simulate(t, one(Heal{}), func(r *rig) {
		r.phase(AllHealthy)
		hurt := func(times int, every time.Duration) {
			for range times {
				r.kill("db")
				r.after(every)
			}
		}
		hurt(5, time.Hour)
		if r.count(EventFlapping) != 0 || r.db().Reason != "" {
			r.t.Errorf("after five heals: %+v", r.db())
		}
		hurt(1, 30*time.Minute)
		db := r.db()
		if e := r.of(EventFlapping); !strings.HasPrefix(e.Reason, "flapping: healed 6 times or more within 6 hours") || e.Service != "db" {
			r.t.Errorf("%+v", e)
		}
		if s := r.phase(AllHealthy); db.State != "running" || db.Reason != r.of(EventFlapping).Reason || !db.Settled || s.Reason != "" {
			r.t.Errorf("%+v", s)
		}
		hurt(20, 20*time.Minute) // told once
		r.after(4 * time.Hour)
		hurt(1, time.Hour)
		if n := r.count(EventFlapping); n != 1 || r.db().Reason == "" {
			r.t.Errorf("%d events, %+v", n, r.db())
		}
		r.after(5*time.Hour + time.Minute)
		if r.db().Reason != "" {
			r.t.Errorf("after calm hours: %+v", r.db())
		}
		hurt(6, 20*time.Minute)
		if n := r.count(EventFlapping); n != 2 {
			r.t.Errorf("%d events", n)
		}
	})
}

// Spread over more hours it is no flapping; and heals that do not help are another matter.
func TestNoFlapping(t *testing.T) {
	simulate(t, one(Heal{}), func(r *rig) {
		r.phase(AllHealthy)
		for range 12 {
			r.kill("db")
			r.after(73 * time.Minute)
		}
		r.set("db", func(s *script) { s.dies, s.healthy = time.Second, time.Hour })
		r.kill("db")
		r.after(time.Hour)
		if n := r.count(EventFlapping); n != 0 {
			r.t.Errorf("%d events", n)
		}
	})
}
