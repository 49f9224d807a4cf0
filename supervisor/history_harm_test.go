package supervisor

import (
	"fmt"
	"time"
)

// harm does something to a container, or to all.
func (h *history) harm(name string) {
	u := h.units[name]
	what := h.pick.IntN(14)
	h.say("harm %d to %s", what, name)
	switch what {
	case 0:
		h.fed = false
	case 1, 13: // the engine restarts, or only the connection is lost
		h.st = h.st.cutOff(h.now)
		if h.lost.IsZero() {
			h.lost = h.now
		}
		if what == 13 {
			break
		}
		h.fed = false
		for _, u := range h.units {
			u.end(137, h.now)
		}
	case 2: // the machine slept
		h.st = h.st.woke(h.now)
		for _, l := range h.ledgers {
			l.forget()
		}
	case 3:
		delete(h.units, name)
	}
	if u == nil {
		return
	}
	switch what {
	case 4, 5, 6:
		u.end([...]int{0, 1, 137}[what-4], h.now)
	case 7, 8:
		if u.Running && h.wanted.Services[name].Healthcheck {
			u.Health, u.turns = HealthUnhealthy, time.Time{}
		}
	case 9:
		if u.Running {
			u.Paused = !u.Paused
		}
	case 10:
		u.Stale = u.Running && h.wanted.Services[name].Secrets
	case 12:
		u.Detached = "net"
	case 11: // somebody meddles: another container, or the same one started
		if h.pick.IntN(2) == 0 {
			h.starts++
			u.Foreign, u.ID = true, fmt.Sprint(name, h.starts)
		} else if !u.Running {
			h.run(name, u) // beside what, nobody tells: found stays
		}
	}
}

// person has somebody want something.
func (h *history) person(name string) {
	s := h.wanted.Services[name]
	what := h.pick.IntN(9)
	h.say("a person does %d to %s", what, name)
	switch what {
	case 0, 1:
		s.Stopped = h.pick.IntN(3) == 0
	case 2:
		s.Missing = [...][]string{nil, nil, {"TOKEN"}}[h.pick.IntN(3)]
	case 3:
		s.Revision++
	case 4:
		h.wanted.Create++
	case 5:
		s.Heal = h.heal()
	case 6:
		s.Maintenance = h.now.Add(time.Duration(h.pick.IntN(60)) * time.Minute)
	case 7:
		s.Maintenance = time.Time{}
	case 8:
		h.queued[name] = true
	}
	h.wanted.Services[name] = s
}

// everything lets a person undo whatever people did, and act on what waits for one.
func (h *history) everything() {
	for _, name := range h.names {
		s := h.wanted.Services[name]
		s.Stopped, s.Missing, s.Maintenance = false, nil, time.Time{}
		s.Revision++
		h.wanted.Services[name] = s
		c, found := h.seen().Containers[name]
		if cond := classify(s, c, found); cond == condMissing || cond == condDead || cond == condUnhealthy {
			h.queued[name] = true
		}
	}
}
