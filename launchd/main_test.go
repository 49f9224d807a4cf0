package launchd_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"minibot/launchd/launchdtest"
)

// folder of this run, made when it is needed: the processes of a fuzz target, which are killed, need none.
var folder string

// standin builds the program that stands in for launchd and launchctl, once.
var standin = sync.OnceValues(func() (string, error) {
	var err error
	if folder, err = os.MkdirTemp("", "launchd-test"); err != nil {
		return "", err
	}
	return launchdtest.Build(folder)
})

func TestMain(m *testing.M) {
	exit := m.Run()
	if folder != "" {
		if err := os.RemoveAll(folder); err != nil {
			fmt.Fprintln(os.Stderr, err)
			exit = 1
		}
	}
	os.Exit(exit)
}
