package control

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// EventQuery says which events are wanted; the zero one asks for all that are kept.
type EventQuery struct {
	After   uint64    // events with a higher number
	Follow  bool      // go on with new ones
	Since   time.Time // not earlier; zero is no limit
	Until   time.Time // earlier; zero is no limit
	Service string    // "" is any
	Kind    string    // "" is any
}

// match says whether e is wanted, but for its number.
func (q EventQuery) match(e Event) bool {
	return (q.Service == "" || e.Service == q.Service) && (q.Kind == "" || e.Kind == q.Kind) &&
		!e.Time.Before(q.Since) && (q.Until.IsZero() || e.Time.Before(q.Until))
}

// reaches says whether a segment may hold something that is wanted.
func (q EventQuery) reaches(s segment) bool {
	return s.until.Add(time.Second).After(q.Since) && (q.Until.IsZero() || s.from.Before(q.Until))
}

// query is how it goes over the wire: what is not asked for is not there.
func (q EventQuery) query() url.Values {
	v := url.Values{"after": {strconv.FormatUint(q.After, 10)}, "follow": {strconv.FormatBool(q.Follow)}}
	for key, text := range map[string]string{"service": q.Service, "kind": q.Kind, "since": wireTime(q.Since), "until": wireTime(q.Until)} {
		if text != "" {
			v.Set(key, text)
		}
	}
	return v
}

func wireTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// errEnough ends a reading whose answer is known.
var errEnough = errors.New("enough was read")

// CheckNames returns an error that wraps [secrets.ErrNotFound], and names the known ones, where q asks for a service or a
// kind that is neither known nor in the log: read reads that. It reads it only for names that are not known.
func (q EventQuery) CheckNames(ctx context.Context, services, kinds []string, read func(context.Context, EventQuery, func(Event) error) error) error {
	for _, name := range []struct {
		what, asked string
		known       []string
		of          func(Event) string
	}{
		{"service", q.Service, services, func(e Event) string { return e.Service }},
		{"kind", q.Kind, kinds, func(e Event) string { return e.Kind }},
	} {
		if name.asked == "" || slices.Contains(name.known, name.asked) {
			continue
		}
		all := slices.Clone(name.known)
		err := read(ctx, EventQuery{}, func(e Event) error {
			text := name.of(e)
			if text == name.asked {
				return errEnough
			}
			if text != "" && !slices.Contains(all, text) {
				all = append(all, text)
			}
			return nil
		})
		if errors.Is(err, errEnough) {
			continue
		}
		if err == nil {
			slices.Sort(all)
			err = hint.Wrap(fmt.Errorf("events of %s %s: %w", name.what, name.asked, secrets.ErrNotFound), "there are %s", strings.Join(all, ", "))
		}
		return err
	}
	return nil
}
