package secrets_test

import (
	"sync/atomic"
	"testing"
	"time"

	"minibot/secrets"
	"minibot/secrets/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(testing.TB) storetest.Harness {
		m := secrets.NewMemory()
		var clock atomic.Pointer[time.Time]
		m.Now = func() time.Time {
			if at := clock.Load(); at != nil {
				return *at
			}
			return time.Now()
		}
		return storetest.Harness{
			Store:    m,
			Reopen:   func() secrets.Store { return m },
			Deny:     m.Deny,
			SetClock: func(at time.Time) { clock.Store(&at) },
			Lock: func(locked bool) {
				if locked {
					m.Lock()
				} else {
					m.Unlock()
				}
			},
		}
	})
}

func TestMemoryUsesItsClock(t *testing.T) {
	m := secrets.NewMemory()
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("there", 3600))
	m.Now = func() time.Time { return at }
	if err := m.Put(t.Context(), "A", secrets.Current, value(t, canary)); err != nil {
		t.Fatal(err)
	}
	item, err := m.Get(t.Context(), "A", secrets.Current)
	if err != nil || !item.Changed.Equal(at) || item.Changed.Location() != time.UTC {
		t.Errorf("got %v, %v", item.Changed, err)
	}
}
