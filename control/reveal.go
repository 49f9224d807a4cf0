package control

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"minibot/hint"
	"minibot/secrets"
)

// How often one secret may be revealed: enough for a person and for scripts that start `mb-secrets exec` now and then,
// which reads every secret once; not for a loop.
const (
	revealBurst = 30
	revealEvery = 4 * time.Second
	revealNames = 1024        // that are counted each on its own; others share
	revealQuiet = time.Minute // between two records of refusals of one name
)

// reveal is the one way by which a value leaves the daemon. It is limited for each name, and recorded before the value
// is sent: a value whose record cannot be kept is not sent.
func (a *api) reveal(w http.ResponseWriter, r *http.Request) {
	name, err := secrets.ParseName(r.PathValue("name"))
	if err != nil {
		a.answer(w, nil, err)
		return
	}
	if err := a.mayReveal(w, r, name); err != nil {
		a.answer(w, nil, err)
		return
	}
	value, err := a.backend.Reveal(r.Context(), name)
	err = reasonOf(r.Context(), err)
	if err == nil && value.IsZero() {
		err = fmt.Errorf("%s: %w", name, secrets.ErrNotFound)
	}
	switch {
	case err == nil:
		err = a.keep(r.Context(), name, "revealed to %s", "")
	case !errors.Is(err, secrets.ErrNotFound) && !hasLeft(r.Context()):
		err = errors.Join(err, a.keep(r.Context(), name, "not revealed to %s: %s", kindOfError(err).code))
	}
	if err != nil {
		a.answer(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	plain := value.Reveal()
	defer clear(plain)
	a.write(w, plain)
}

// mayReveal refuses a secret that is asked for too often, and records that, though not each time.
func (a *api) mayReveal(w http.ResponseWriter, r *http.Request, name secrets.Name) error {
	wait, more, say := a.reveals.take(name, time.Now())
	if wait == 0 {
		return nil
	}
	seconds := int(math.Ceil(wait.Seconds()))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	err := hint.Wrap(fmt.Errorf("%s: %w", name, ErrTooMany), "wait %d s; `minibotd events` shows who asks", seconds)
	if say {
		err = errors.Join(err, a.keep(r.Context(), name, "not revealed to %s: %s", fmt.Sprintf("asked for too often, %d times more since it was last said", more)))
	}
	return err
}

// keep records who asked for a secret. format takes who it was, and detail unless that is "".
func (a *api) keep(ctx context.Context, name secrets.Name, format, detail string) error {
	args := []any{who(ctx)}
	if detail != "" {
		args = append(args, detail)
	}
	if a.record == nil {
		return fmt.Errorf("%s: %w", name, ErrUnrecorded)
	}
	if err := a.record(Event{Kind: "secret", Secret: string(name), Message: fmt.Sprintf(format, args...)}); err != nil {
		return hint.Wrap(fmt.Errorf("%s: %w: %w", name, ErrUnrecorded, err),
			"look at the disk; while minibotd is stopped, mb-secrets opens the store itself")
	}
	return nil
}

// reveals counts by name how often secrets are asked for. The zero value is ready. It is safe for concurrent use.
type reveals struct {
	mu    sync.Mutex
	by    map[secrets.Name]*revealed
	swept time.Time // when names were last forgotten
}

type revealed struct {
	limit *rate.Limiter
	said  time.Time // when a refusal was last recorded
	more  int       // refusals since
}

// take counts one request. When it comes too early, it returns after how long one would not, and whether to record
// that, with how many were not recorded.
func (v *reveals) take(name secrets.Name, now time.Time) (wait time.Duration, more int, say bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.entry(name, now)
	r := e.limit.ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait == 0 {
		return 0, 0, false
	}
	r.CancelAt(now)
	if !e.said.IsZero() && now.Sub(e.said) < revealQuiet {
		e.more++
		return wait, 0, false
	}
	more, e.more, e.said = e.more, 0, now
	return wait, more, true
}

// sweep forgets names that nobody asked for of late, if it has not just done so. The caller holds mu.
func (v *reveals) sweep(now time.Time) {
	if now.Sub(v.swept) < revealEvery {
		return
	}
	v.swept = now
	for n, e := range v.by {
		if e.limit.TokensAt(now) >= revealBurst {
			delete(v.by, n)
		}
	}
}

// entry returns what is known of a name. When there are too many names, those are forgotten that nobody asked for of
// late; if that is not enough, the rest share one entry. The caller holds mu.
func (v *reveals) entry(name secrets.Name, now time.Time) *revealed {
	if v.by == nil {
		v.by = map[secrets.Name]*revealed{}
	}
	if v.by[name] == nil && len(v.by) >= revealNames {
		v.sweep(now)
		if len(v.by) >= revealNames {
			name = ""
		}
	}
	e := v.by[name]
	if e == nil {
		e = &revealed{limit: rate.NewLimiter(rate.Every(revealEvery), revealBurst)}
		v.by[name] = e
	}
	return e
}
