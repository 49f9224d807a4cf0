package main

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"minibot/database"
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

// Somebody changes a password in a database that runs, of which nothing tells until the users of it fail: the stored one is put in force again.
func TestDatabasesAreMadeSureOfWhenTheirUserFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(simFolder(t), "fails")
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, dir, simLoader())
		s.boot(s.home())
		s.well(simMend)
		s.dbs["db"].Set(database.Credential{Password: value(t, "canary-by-hand")})
		s.m.mu.Lock()
		for _, c := range s.m.of("app") {
			s.m.end(c, 1, false)
		}
		s.m.mu.Unlock()
		s.rest(time.Second)
		if s.look().Phase == "healthy" {
			t.Error("app starts although the database refuses it")
		}
		s.well(10 * time.Minute)
		s.settled()
		s.over(t)
	})
}
