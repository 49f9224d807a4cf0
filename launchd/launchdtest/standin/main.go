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
	os.Exit(run(filepath.Dir(program), filepath.Base(program))) //nolint:forbidigo // this is a main
}

func run(dir, name string) int {
	switch name {
	case "launchctl":
		return emulation.Launchctl(dir, os.Args[1:], os.Stdout, os.Stderr)
	case "xpcproxy":
		return emulation.Proxy()
	}
	return serve(dir, os.Stdout)
}

// serve runs until stdin ends or a signal comes, so that it does not outlive the test that started it.
func serve(dir string, stdout io.Writer) int {
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
			err = server.Serve(ctx, func() { _, _ = io.WriteString(stdout, "ready\n") })
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "launchd:", err)
		return 1
	}
	return 0
}
