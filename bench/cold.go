package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"minibot/control"
)

// shape is a project of services that do nothing but be healthy.
type shape struct {
	name    string
	n       int
	chained bool   // each waits until the one before it is healthy
	rounds  int    // of cold starts
	start   string // the mark of a cold start
	reload  bool   // measured too
}

var shapes = []shape{
	{"3 independent services", 3, false, 7, "≤ 0.85", true},
	{"a chain of 3", 3, true, 7, "≤ 0.80", true},
	{"30 services", 30, false, 3, "≤ 0.85", false},
}

// file is the compose file. A service is healthy at its first check.
func (s shape) file() string {
	head, tail, _ := strings.Cut(chain, "services:\n")
	var services strings.Builder
	for i := range s.n {
		after := ""
		if s.chained && i > 0 {
			after = fmt.Sprintf(", depends_on: { s%d: { condition: service_healthy } }", i-1)
		}
		fmt.Fprintf(&services, "  s%d: { <<: *tiny%s }\n", i, after)
	}
	return head + "services:\n" + services.String() + tail[strings.Index(tail, "secrets:\n"):]
}

// shaped brings each shape up from nothing, by minibotd and by docker compose in turns, and then has each look again at what
// is up already.
func shaped(ctx context.Context, b *bench) (rows []row, err error) {
	for _, s := range shapes {
		more, err := s.measure(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

func (s shape) measure(ctx context.Context, b *bench) (rows []row, err error) {
	secrets := map[string]string{"K": "made-up-0123456789"}
	ours, err := b.project(s.file(), secrets, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ours.end()) }()
	theirs, err := b.project(s.file(), secrets, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, theirs.end()) }()
	var up, composeUp []time.Duration
	for range b.times(s.rounds) {
		if err := errors.Join(ours.stop(), ours.wipe(), theirs.wipe()); err != nil {
			return nil, err
		}
		took, err := ours.up(ctx)
		if err != nil {
			return nil, err
		}
		up = append(up, took)
		if err := ours.stop(); err != nil {
			return nil, err
		}
		if err := ours.wipe(); err != nil {
			return nil, err
		}
		took, err = theirs.dockerCompose(ctx, secrets, "up", "-d", "--wait")
		if err != nil {
			return nil, err
		}
		composeUp = append(composeUp, took)
	}
	rows = append(rows,
		row{"cold start, " + s.name + ", minibotd", spread(up), ""},
		row{"cold start, " + s.name + ", `docker compose up -d --wait`", spread(composeUp), ""},
		row{"cold start, " + s.name + ", minibotd : compose", ratios(up, composeUp), s.start})
	if !s.reload {
		return rows, nil
	}
	if _, err := ours.up(ctx); err != nil {
		return nil, err
	}
	var reload, again []time.Duration
	for range b.times(15) {
		begin := time.Now()
		if err := ours.client().Operate(ctx, control.Operation{Verb: control.VerbReload}, func(control.Progress) {}); err != nil {
			return nil, err
		}
		reload = append(reload, time.Since(begin))
		took, err := theirs.dockerCompose(ctx, secrets, "up", "-d")
		if err != nil {
			return nil, err
		}
		again = append(again, took)
	}
	return append(rows,
		row{"nothing to do, " + s.name + ", `minibotd reload`", spread(reload), ""},
		row{"nothing to do, " + s.name + ", `docker compose up -d`", spread(again), ""},
		row{"nothing to do, " + s.name + ", minibot : compose", ratios(reload, again), "≤ 0.1"}), nil
}
