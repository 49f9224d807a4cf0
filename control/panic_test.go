package control

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAPanicInAHandlerEndsTheServer holds that its caller is told, that the log shows where and no value, and that the
// daemon ends with an error, so that it is started anew.
func TestAPanicInAHandlerEndsTheServer(t *testing.T) {
	for name, ask := range map[string]func(context.Context, *Client) error{
		"in a request":    func(ctx context.Context, c *Client) error { _, err := c.Reveal(ctx, "PANICS"); return err },
		"in an operation": func(ctx context.Context, c *Client) error { return c.Operate(ctx, Operation{Verb: VerbReload}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			f, log := newFake(t), &logBuffer{}
			f.op = func(context.Context, Operation, func(Progress)) error { panic(errors.New("canary-in-a-panic")) }
			path := filepath.Join(shortDir(t), "run", "d.sock")
			ln, err := Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			server := &Server{Backend: f, Logger: slog.New(slog.NewTextHandler(log, nil)), Record: f.log.Append}
			go func() { ended <- server.Serve(t.Context(), ln) }()
			if err := ask(t.Context(), &Client{Socket: path}); !errors.Is(err, errInternal) {
				t.Errorf("the caller hears %v", err)
			}
			select {
			case err := <-ended:
				if !errors.Is(err, errPanicked) {
					t.Errorf("the server ended with %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the server goes on")
			}
			if text := log.String(); !strings.Contains(text, "unexpected") || !strings.Contains(text, "panic_test.go:") && !strings.Contains(text, "fake_test.go:") ||
				strings.Contains(text, "canary-in-a-panic") {
				t.Errorf("the log: %s", text)
			}
		})
	}
}
