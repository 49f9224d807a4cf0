package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// tally is what bench/hammer says of one server.
type tally struct {
	Requests, Failures int
	Window             float64 `json:"window_ms"`
	Reason             string
}

// client follows what a hammer prints.
type client struct {
	cmd   *exec.Cmd
	lines chan map[string]tally
}

// follow starts a command that prints a hammer's lines.
func follow(cmd *exec.Cmd) (*client, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &client{cmd, make(chan map[string]tally, 1000)}
	go func() {
		defer close(c.lines)
		for decoder := json.NewDecoder(out); ; {
			var line map[string]tally
			if decoder.Decode(&line) != nil { // the command ended
				return
			}
			c.lines <- line
		}
	}()
	return c, nil
}

// settled waits until requests have succeeded for a while from now on, and returns the tally then.
func (c *client) settled(ctx context.Context, server string) (tally, error) {
	for len(c.lines) > 0 { // what was said before
		<-c.lines
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var seen []tally
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				return tally{}, errors.New("the client ended")
			}
			seen = append(seen, line[server])
		case <-ctx.Done():
			return tally{}, fmt.Errorf("the client of %s does not settle: %+v", server, seen)
		}
		if n := len(seen); n >= 4 && seen[n-1].Failures == seen[n-3].Failures && seen[n-1].Requests > seen[n-2].Requests && seen[n-2].Requests > seen[n-3].Requests {
			return seen[n-1], nil
		}
	}
}

// end ends the command.
func (c *client) end() error {
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for range c.lines { // to its end, before Wait closes the pipe
	}
	if err := c.cmd.Wait(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) { // it was killed
			return err
		}
	}
	return nil
}
