// Command mb-secrets is what a person types to keep the secrets of a minibot installation: set, get, list, delete,
// generate, rotate, rollback, history, exec, and init for the first time.
//
// While minibotd runs it is a client of it; without it, it opens the store itself, under the lock that keeps a
// starting daemon waiting, and never across a prompt. It never takes a value from argv or the environment, and never
// prints one except with get.
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
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(hardened(ctx, os.Args[1:], console.New(os.Stdin, os.Stdout, os.Stderr)))
}
