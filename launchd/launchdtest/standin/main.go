// Command standin stands in for launchd and launchctl in tests, by the name it is called: launchctl, launchd or xpcproxy, which
// launchd starts agents with. Package launchdtest builds it and puts it in place.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"minibot/launchd/launchdtest/emulation"
)

func main() {
	program, err := os.Executable()
	if err != nil {
		program = os.Args[0]
	}
	switch dir := filepath.Dir(program); filepath.Base(program) {
	case "launchctl":
		os.Exit(emulation.Launchctl(dir, os.Args[1:], os.Stdout, os.Stderr))
	case "xpcproxy":
		os.Exit(emulation.Proxy())
	default:
		os.Exit(serve(dir))
	}
}

// serve runs until stdin ends or a signal comes, so that it does not outlive the test that started it.
func serve(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with stdin or with the process
		defer cancel()
		_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
	}()
	config, err := emulation.LoadConfig(dir)
	if err == nil {
		var server *emulation.Server
		if server, err = emulation.New(config, filepath.Join(dir, "xpcproxy")); err == nil {
			err = server.Serve(ctx, func() { fmt.Println("ready") })
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "launchd:", err)
		return 1
	}
	return 0
}
