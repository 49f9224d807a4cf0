//go:build crashpoints

package main

import (
	"cmp"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"minibot/rotation"
)

// crashPoint returns what kills this process at a crash point of a rotation: see dieAt.
func crashPoint() func(rotation.Point) {
	at := dieAt()
	return func(p rotation.Point) { at(p.String()) }
}

// dieAt returns what kills this process at a named point: MINIBOT_DIE_AT names it, as in "switch/before-effect" or "copy
// postgres", and after a colon which of its passages. Tests alone are built with it.
func dieAt() func(point string) {
	at, passage, counted := strings.Cut(os.Getenv("MINIBOT_DIE_AT"), ":")
	left := 1
	if counted {
		left, _ = strconv.Atoi(passage) // a test's own; 0 never dies
	}
	return func(point string) {
		if point != at {
			return
		}
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // nobody is left to hear of a failure
			select {}
		}
	}
}

// dieBefore kills this process before a step of install or uninstall: MINIBOT_DIE_AT names it, as in "install/start".
func dieBefore(step string) {
	if os.Getenv("MINIBOT_DIE_AT") == "install/"+step {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // nobody is left to hear of a failure
		select {}
	}
}

// standInOf is a program of macOS, or the one that a test names in its place.
func standInOf(program string) string {
	return cmp.Or(os.Getenv("MINIBOT_"+strings.ToUpper(filepath.Base(program))), program)
}

// crashOnSignal panics on SIGUSR1, in a goroutine that nobody waits for, with every value that is in force in the message.
func crashOnSignal(d *daemon) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		<-signals
		d.mu.Lock()
		text := "the engine says"
		for name, value := range d.values {
			text += fmt.Sprintf(" %s=%s\n", name, value.Reveal())
		}
		panic(fmt.Errorf("%s", text))
	}()
}
