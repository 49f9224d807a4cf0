package notify

import "time"

// book is what was told through one way, by subject.
type book map[string]entry

// entry is what was told last about one subject, and when the last two times were: the newest first.
type entry struct {
	Event string       `json:"event"`
	Sent  [2]time.Time `json:"sent"`
}

// due says which event is to be told about a subject that stands so, or after which time it may be. It is pure but for
// silent changes: a recovery that nobody wants to hear is noted.
func (b book) due(subject, kind string, recoveries bool, repeat time.Duration, now time.Time) (event string, later time.Duration) {
	e := b[subject]
	told := e.Event
	if told == recovered {
		told = Well
	}
	switch {
	case kind == Unknown:
		return "", idle
	case kind == told && (kind == Well || repeat == 0):
		return "", idle
	case kind == told:
		if left := repeat - now.Sub(e.Sent[0]); left > 0 {
			return "", left
		}
		return kind, 0
	case kind == Well && !recoveries:
		delete(b, subject)
		return "", idle
	}
	if since := now.Sub(e.Sent[perSubject-1]); since >= 0 && since < window { // a clock that was set back does not bind
		return "", window - since
	}
	if kind == Well {
		kind = recovered
	}
	return kind, 0
}

func (b book) note(subject, event string, now time.Time) {
	b[subject] = entry{Event: event, Sent: [2]time.Time{now, b[subject].Sent[0]}}
}
