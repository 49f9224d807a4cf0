package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// What an attempt itself makes happen, as a database that comes up after a restart, does not make a storm of attempts.
func TestWhatIsFinishedAgainIsPaced(t *testing.T) {
	for _, test := range []struct {
		delay, token, want time.Duration // token: when something asks for the next attempt; 0: nothing does
	}{
		{time.Second, 0, time.Second},
		{5 * time.Minute, 0, 5 * time.Minute},
		{time.Second, time.Millisecond, time.Second},
		{5 * time.Minute, time.Millisecond, time.Minute},
		{5 * time.Minute, 2 * time.Minute, 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &daemon{unfinished: make(chan struct{}, 1)}
			if test.token > 0 {
				time.AfterFunc(test.token, d.wakeFinish)
			}
			began := time.Now()
			d.finishAgain(t.Context(), test.delay)
			if waited := time.Since(began); waited != test.want {
				t.Errorf("%+v: waited %v", test, waited)
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	d := &daemon{unfinished: make(chan struct{}, 1)}
	d.wakeFinish()
	d.finishAgain(ended, time.Hour) // returns
}
