package control

import (
	"net/url"
	"strconv"
	"time"
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
