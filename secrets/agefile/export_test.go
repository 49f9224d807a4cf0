package agefile

import "time"

// SetClock sets the clock that dates what s writes. Nobody may use s meanwhile.
func (s *Store) SetClock(at time.Time) { s.now = func() time.Time { return at } }
