// Command minibotd keeps the stack up: it loads the secrets, brings the compose project up, watches and heals it, and
// carries changed secrets into the running services. Its other subcommands talk to the running daemon.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"minibot/console"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal drains, a second one ends the program at once
	os.Exit(run(ctx, os.Args[1:], console.New(os.Stdin, os.Stdout, os.Stderr)))
}
