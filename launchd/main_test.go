package launchd_test

import (
	"fmt"
	"os"
	"testing"

	"minibot/launchd/launchdtest"
)

// standin is the program that stands in for launchd and launchctl.
var standin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "launchd-test")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		standin, err = launchdtest.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
