package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// peerLabel marks the containers of others than minibot, and says what they are called.
const peerLabel = "minibot.bench.peer"

// autoheal is the loop that people run beside compose, in the shell as they do: it asks for unhealthy containers, restarts
// each, and sleeps. Without its filter it would restart every container of the engine.
const autoheal = `
: "${FILTER:?}"
while :; do
  curl -sS --unix-socket "$SOCKET" "http://localhost/containers/json?filters=$FILTER" | jq -r '.[].Id' |
    while read -r id; do curl -sS --unix-socket "$SOCKET" -X POST "http://localhost/containers/$id/restart?t=10"; done
  sleep "$INTERVAL"
done`

// peer is a container like those of the chain, network and memory-backed volume included, with something else than minibot to look
// after it.
type peer struct {
	name   string
	healer *exec.Cmd // nil: the engine itself
	said   bytes.Buffer
}

// peer starts a container; with an interval, an autoheal loop too.
func (p *project) peer(name, restart string, interval time.Duration) (*peer, error) {
	c := &peer{name: p.name + "-" + name}
	volume := []string{"volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m", c.name}
	if out, err := exec.Command("docker", volume...).CombinedOutput(); err != nil {
		return c, fmt.Errorf("docker volume create: %w: %s", err, out)
	}
	out, err := exec.Command("docker", "run", "-d", "--init", "--name", c.name, "--label", peerLabel+"="+name, "--restart", restart,
		"--network", p.name+"_default", "-v", c.name+":/run/secrets:ro", "--tmpfs", "/tmp", "--tmpfs", "/data", "--health-cmd", "! test -e /tmp/sick", "--health-interval", "500ms", "--health-timeout", "5s",
		"--health-retries", "1", "--entrypoint", "sh", p.env["MINIBOT_REDIS_IMAGE"], "-c", "while :; do sleep 3600 & wait $!; done").CombinedOutput()
	if err != nil {
		return c, fmt.Errorf("docker run: %w: %s", err, out)
	}
	if interval == 0 {
		return c, nil
	}
	c.healer = exec.Command("bash", "-c", autoheal)
	filter := url.QueryEscape(fmt.Sprintf(`{"health":["unhealthy"],"label":["%s=%s"]}`, peerLabel, name))
	c.healer.Env = append(os.Environ(), "FILTER="+filter, fmt.Sprint("INTERVAL=", interval.Seconds()), "SOCKET="+socket())
	c.healer.Stdout, c.healer.Stderr = &c.said, &c.said
	c.healer.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c, c.healer.Start()
}

func (c *peer) end() error {
	var errs []error
	if c.healer != nil && c.healer.Process != nil {
		errs = append(errs, syscall.Kill(-c.healer.Process.Pid, syscall.SIGKILL))
		var exit *exec.ExitError
		if err := c.healer.Wait(); !errors.As(err, &exit) { // it was killed
			errs = append(errs, err)
		}
	}
	for _, args := range [][]string{{"rm", "-f", c.name}, {"volume", "rm", "-f", c.name}} {
		if out, err := exec.Command("docker", args...).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("docker %s: %w: %s", args[0], err, out))
		}
	}
	return errors.Join(errs...)
}

// healers makes a service of minibot and containers under autoheal loops sick, in turns, each at a random moment of the
// loop's interval. All times are the engine's own.
func healers(ctx context.Context, b *bench) (rows []row, err error) {
	p, events, err := b.watched(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	intervals := map[string]time.Duration{"each-5s": 5 * time.Second, "each-1s": time.Second}
	marks := map[string]string{"each-5s": "≤ 0.10", "each-1s": "≤ 0.25"}
	for name, interval := range intervals {
		c, failed := p.peer(name, "no", interval)
		defer func() { err = errors.Join(err, c.end()) }()
		if failed != nil {
			return nil, failed
		}
		await(events, name, "health_status: healthy")
	}
	took := map[string][]time.Duration{}
	for range b.times(12) {
		if err := p.afresh(ctx); err != nil {
			return nil, err
		}
		for _, name := range []string{"c", "each-5s", "each-1s"} {
			if err := pause(ctx, rand.N(max(intervals[name], time.Second))); err != nil { //nolint:gosec // a moment, no secret
				return nil, err
			}
			if err := exec.CommandContext(ctx, "docker", "exec", p.name+"-"+name, "touch", "/tmp/sick").Run(); err != nil {
				return nil, err
			}
			seen := await(events, name, "health_status: unhealthy", "start")
			took[name] = append(took[name], seen[1].Sub(seen[0]))
			await(events, name, "health_status: healthy")
		}
	}
	rows = append(rows, row{"unhealthy event → next start event, minibot", spread(took["c"]), ""})
	for _, name := range []string{"each-5s", "each-1s"} {
		loop := fmt.Sprintf("a loop of curl and jq every %v", intervals[name])
		rows = append(rows, row{"the same, " + loop, spread(took[name]), ""},
			row{"minibot : " + loop, ratios(took["c"], took[name]), marks[name]})
	}
	return rows, nil
}

// killed kills the first process of a container from the host, as the kernel does when memory is short, in turns of minibot's and one
// that the engine itself starts again.
func killed(ctx context.Context, b *bench) (rows []row, err error) {
	p, events, err := b.watched(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	c, err := p.peer("always", "always", 0)
	defer func() { err = errors.Join(err, c.end()) }()
	if err != nil {
		return nil, err
	}
	await(events, "always", "health_status: healthy")
	took := map[string][]time.Duration{}
	for range b.times(10) {
		// the engine believes in a start after 10 s, and would wait for longer before the next one
		if err := errors.Join(p.afresh(ctx), pause(ctx, 12*time.Second)); err != nil {
			return nil, err
		}
		for _, name := range []string{"c", "always"} {
			out, err := exec.CommandContext(ctx, "docker", "inspect", "-f", "{{.State.Pid}}", p.name+"-"+name).Output()
			if err != nil {
				return nil, err
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
			if err != nil || pid <= 0 {
				return nil, fmt.Errorf("the process of %s: %q: %w", name, out, err)
			}
			begin := time.Now()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				return nil, err
			}
			took[name] = append(took[name], await(events, name, "start")[0].Sub(begin))
			await(events, name, "health_status: healthy")
		}
	}
	return []row{
		{"killed from the host → start event, minibot", spread(took["c"]), ""},
		{"the same, the engine's `restart: always`", spread(took["always"]), ""},
		{"killed: minibot : the engine's own restart", ratios(took["c"], took["always"]), "≤ 1.0"},
	}, nil
}

// watched brings the chain up, and streams its events.
func (b *bench) watched(ctx context.Context) (*project, <-chan engineEvent, error) {
	p, err := b.project(chain, map[string]string{"K": "made-up-0123456789"}, nil)
	if err != nil {
		return nil, nil, err
	}
	events, err := p.events(ctx)
	if err == nil {
		_, err = p.up(ctx)
	}
	if err != nil {
		return nil, nil, errors.Join(err, p.end())
	}
	return p, events, nil
}

// afresh starts the daemon anew, so that the next failure is the first: a second one within 10 minutes is healed after a second.
func (p *project) afresh(ctx context.Context) error {
	if err := p.stop(); err != nil {
		return err
	}
	_, err := p.up(ctx)
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
