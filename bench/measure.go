package main

import (
	"context"
	"errors"
	"os/exec"
	"time"

	"minibot/control"
	"minibot/deploy"
)

// chain is a compose file of three services that start in a moment; a service is sick while /tmp/sick exists.
const chain = `name: ${MINIBOT_NAME}
x-tiny: &tiny
  image: ${MINIBOT_REDIS_IMAGE:-redis:8-alpine}
  entrypoint: ["sh", "-c", "while :; do sleep 3600 & wait $$!; done"]
  init: true
  tmpfs: [/tmp, /data]
  secrets: [K]
  healthcheck: { test: ["CMD-SHELL", "! test -e /tmp/sick"], interval: 500ms, timeout: 5s, retries: 1 }
services:
  a: { <<: *tiny, container_name: "${MINIBOT_NAME}-a" }
  b: { <<: *tiny, container_name: "${MINIBOT_NAME}-b", depends_on: { a: { condition: service_healthy } } }
  c: { <<: *tiny, container_name: "${MINIBOT_NAME}-c", depends_on: { b: { condition: service_healthy } } }
secrets:
  K: { environment: K }
`

var madeUp = map[string]string{
	"POSTGRES_PASSWORD": "made-up-postgres-0123456789", "REDIS_PASSWORD": "made-up-redis-0123456789",
	"ANTHROPIC_API_KEY": "made-up-anthropic-0123456789", "TELEGRAM_BOT_TOKEN": "made-up-telegram-0123456789",
	"OPENCLAW_GATEWAY_TOKEN": "made-up-gateway-0123456789",
}

// coldStart brings the shipped stack up from nothing, by minibotd and by docker compose in turns.
func coldStart(ctx context.Context, b *bench) ([]row, error) {
	ports := map[string]string{"MINIBOT_POSTGRES_PORT": "25433", "MINIBOT_REDIS_PORT": "26380", "MINIBOT_OPENCLAW_PORT": "28790"}
	p, err := b.project(string(deploy.ComposeFile), madeUp, ports)
	if err != nil {
		return nil, err
	}
	var ours, theirs []time.Duration
	for range b.times(5) {
		took, err := p.up(ctx)
		if err != nil {
			return nil, errors.Join(err, p.end())
		}
		ours = append(ours, took)
		if err := errors.Join(p.stop(), p.wipe()); err != nil {
			return nil, err
		}
		took, err = p.dockerCompose(ctx, madeUp, "up", "-d", "--wait")
		if err != nil {
			return nil, errors.Join(err, p.end())
		}
		theirs = append(theirs, took)
		if err := p.wipe(); err != nil {
			return nil, err
		}
	}
	return []row{
		{"cold start to all healthy, minibotd", spread(ours), ""},
		{"the same project, `docker compose up -d --wait`", spread(theirs), ""},
		{"cold start, minibotd : compose", ratios(ours, theirs), "≤ 1.0"},
	}, p.end()
}

// healing makes a service sick, and restarts the same container by the engine's API alone, in turns. All times are
// the engine's own.
func healing(ctx context.Context, b *bench) ([]row, error) {
	p, err := b.project(chain, map[string]string{"K": "made-up-0123456789"}, nil)
	if err != nil {
		return nil, err
	}
	if _, err := p.up(ctx); err != nil {
		return nil, errors.Join(err, p.end())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := p.events(ctx)
	if err != nil {
		return nil, errors.Join(err, p.end())
	}
	var issue, healed, plain []time.Duration
	for range b.times(15) {
		if err := exec.CommandContext(ctx, "docker", "exec", p.name+"-c", "touch", "/tmp/sick").Run(); err != nil {
			return nil, errors.Join(err, p.end())
		}
		seen := await(events, "c", "health_status: unhealthy", "kill", "start")
		issue = append(issue, seen[1].Sub(seen[0]))
		healed = append(healed, seen[2].Sub(seen[0]))
		await(events, "c", "health_status: healthy")
		if err := p.stop(); err != nil { // alone: nobody else acts on the container
			return nil, err
		}
		begin := time.Now()
		if err := post(ctx, "/containers/"+p.name+"-c/restart"); err != nil {
			return nil, errors.Join(err, p.end())
		}
		plain = append(plain, await(events, "c", "start")[0].Sub(begin))
		await(events, "c", "health_status: healthy")
		if _, err := p.up(ctx); err != nil {
			return nil, errors.Join(err, p.end())
		}
	}
	return []row{
		{"unhealthy event → kill issued", spread(issue), "≤ 30 ms"},
		{"unhealthy event → next start event", spread(healed), ""},
		{"restart by the engine's API alone → start event", spread(plain), ""},
		{"healing : restart alone", ratios(healed, plain), "≤ 1.10"},
	}, p.end()
}

// await returns the engine's times of the given actions on a service, in that order.
func await(events <-chan engineEvent, service string, actions ...string) []time.Time {
	var times []time.Time
	for e := range events {
		if e.service() == service && e.Action == actions[len(times)] {
			if times = append(times, e.at()); len(times) == len(actions) {
				break
			}
		}
	}
	return times
}

// ordering measures from a dependency's healthy event to the daemon's call that starts its dependent.
func ordering(ctx context.Context, b *bench) ([]row, error) {
	p, err := b.project(chain, map[string]string{"K": "made-up-0123456789"}, nil)
	if err != nil {
		return nil, err
	}
	var delays []time.Duration
	for range b.times(10) {
		begin := time.Now()
		if _, err := p.up(ctx); err != nil {
			return nil, errors.Join(err, p.end())
		}
		err := p.client().Events(ctx, control.EventQuery{}, func(e control.Event) error {
			if e.Kind == "start" && e.Time.After(begin) && (e.Service == "b" || e.Service == "c") && e.LatencyMS > 0 {
				delays = append(delays, time.Duration(e.LatencyMS*float64(time.Millisecond)))
			}
			return nil
		})
		if err := errors.Join(err, p.stop(), p.wipe()); err != nil {
			return nil, err
		}
	}
	if len(delays) == 0 {
		return nil, errors.Join(errors.New("no start event carries a latency"), p.end())
	}
	return []row{{"dependency healthy → dependent's start issued", spread(delays), "≤ 50 ms"}}, p.end()
}

// reloading asks for a reload when nothing changed.
func reloading(ctx context.Context, b *bench) ([]row, error) {
	p, err := b.project(chain, map[string]string{"K": "made-up-0123456789"}, nil)
	if err != nil {
		return nil, err
	}
	if _, err := p.up(ctx); err != nil {
		return nil, errors.Join(err, p.end())
	}
	var took []time.Duration
	for range b.times(50) {
		begin := time.Now()
		if err := p.client().Operate(ctx, control.Operation{Verb: control.VerbReload}, func(control.Progress) {}); err != nil {
			return nil, errors.Join(err, p.end())
		}
		took = append(took, time.Since(begin))
	}
	return []row{{"reload with nothing to do", spread(took), "≤ 10 ms"}}, p.end()
}
