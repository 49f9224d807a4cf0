package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"minibot/deploy"
)

// clientService is bench/hammer in the project. It opens a connection for each request and reads its secrets anew.
const clientService = `
image: ${MINIBOT_REDIS_IMAGE:-redis:8.2.3-alpine}
container_name: ${MINIBOT_NAME}-client
entrypoint: [/hammer]
command:
  - -redis=redis:6379
  - -postgres=host=postgres user=minibot dbname=minibot sslmode=disable
  - -pgservice=/run/secrets/APP_DB.pgservice
volumes: [%q]
networks: [net]
stop_grace_period: 2s
secrets: [{ source: REDIS_PASSWORD, mode: 0444 }, { source: POSTGRES_PASSWORD, mode: 0444 }, { source: APP_DB, mode: 0444 }]
depends_on: { postgres: { condition: service_healthy }, redis: { condition: service_healthy } }
x-minibot: { on_change: none }
`

// pairSecret is the password of two roles that take turns.
const pairSecret = `
environment: APP_DB
x-minibot:
  generate: { length: 32 }
  rotate: { driver: postgres, service: postgres, user: minibot, database: minibot, roles: [app_a, app_b], owner: app }
`

const (
	redisPort    = "26380"
	postgresPort = "25433"
)

// subject is a secret whose change is measured. The manual procedure knows no pair of roles: a pair is compared with what is
// done for a single one.
type subject struct{ secret, server, manual string }

var subjects = []subject{
	{"REDIS_PASSWORD", "redis", "redis"},
	{"POSTGRES_PASSWORD", "postgres", "postgres"},
	{"APP_DB", "pair", "postgres"},
}

// keyed is the shipped compose file without OpenClaw, with a pair of roles and the client.
func (b *bench) keyed() (string, error) {
	path, err := filepath.Abs(b.hammer)
	if err != nil {
		return "", err
	}
	var all map[string]any
	var client, pair any
	if err := errors.Join(
		yaml.Unmarshal(deploy.ComposeFile, &all),
		yaml.Unmarshal(fmt.Appendf(nil, clientService, path+":/hammer:ro"), &client),
		yaml.Unmarshal([]byte(pairSecret), &pair),
	); err != nil {
		return "", err
	}
	services, ok1 := all["services"].(map[string]any)
	secrets, ok2 := all["secrets"].(map[string]any)
	volumes, ok3 := all["volumes"].(map[string]any)
	if !ok1 || !ok2 || !ok3 {
		return "", errors.New("the shipped compose file has another shape")
	}
	delete(all, "configs")
	delete(services, "openclaw")
	delete(volumes, "openclaw")
	for _, name := range []string{"ANTHROPIC_API_KEY", "TELEGRAM_BOT_TOKEN", "OPENCLAW_GATEWAY_TOKEN"} {
		delete(secrets, name)
	}
	services["client"], secrets["APP_DB"] = client, pair
	text, err := yaml.Marshal(all)
	return string(text), err
}

// took is how long something took, and for how long its clients could fail meanwhile.
type took struct{ time, downtime []time.Duration }

func (t *took) add(d time.Duration, of tally) {
	t.time = append(t.time, d)
	t.downtime = append(t.downtime, time.Duration(of.Window*float64(time.Millisecond)))
}

// rotating changes one secret after the other, with minibot and by hand, in turns.
func rotating(ctx context.Context, b *bench) ([]row, error) {
	file, err := b.keyed()
	if err != nil {
		return nil, err
	}
	given := map[string]string{"REDIS_PASSWORD": "made-up-redis-0", "POSTGRES_PASSWORD": "made-up-postgres-0", "APP_DB": "made-up-pair-0"}
	p, err := b.project(file, given, map[string]string{"MINIBOT_POSTGRES_PORT": postgresPort, "MINIBOT_REDIS_PORT": redisPort})
	if err != nil {
		return nil, err
	}
	ours, theirs := map[string]*took{}, map[string]*took{"redis": {}, "postgres": {}}
	for _, s := range subjects {
		ours[s.server] = &took{}
	}
	requests := 0
	for range b.times(3) {
		n, err := p.rotations(ctx, ours)
		requests += n
		if err == nil {
			err = p.byHand(ctx, given, theirs)
		}
		if err != nil {
			return nil, errors.Join(err, p.end())
		}
	}
	rows := []row{{"requests of one client, each a new connection, during minibot's rotations", fmt.Sprint(requests), ""}}
	for _, s := range subjects {
		o, t := ours[s.server], theirs[s.manual]
		rows = append(rows,
			row{s.secret + ": rotation, minibot", spread(o.time), ""},
			row{s.secret + ": by hand, `compose down`, `up -d --wait`", spread(t.time), ""},
			row{s.secret + ": rotation, minibot : by hand", ratios(o.time, t.time), ""},
			row{s.secret + ": its client's downtime, minibot", spread(o.downtime), ""},
			row{s.secret + ": its client's downtime by hand", spread(t.downtime), ""},
			row{s.secret + ": downtime, minibot : by hand", ratios(o.downtime, t.downtime), "≤ 0.10"})
	}
	return rows, p.end()
}

// rotations brings the project up, has minibot change each secret once, and takes the project away again. It returns how many
// requests were made meanwhile.
func (p *project) rotations(ctx context.Context, into map[string]*took) (requests int, err error) {
	if _, err := p.up(ctx); err != nil {
		return 0, err
	}
	c, err := follow(exec.CommandContext(ctx, "docker", "logs", "-f", "--tail", "1", p.name+"-client"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	for _, s := range subjects {
		before, err := c.settled(ctx, s.server)
		if err != nil {
			return 0, err
		}
		if before.Failures != 0 {
			return 0, fmt.Errorf("%s failed before its rotation: %s", s.server, before.Reason)
		}
		begin := time.Now()
		if out, err := p.command("mb-secrets", "rotate", s.secret).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("mb-secrets rotate: %w: %s", err, out)
		}
		d := time.Since(begin)
		after, err := c.settled(ctx, s.server)
		if err != nil {
			return 0, err
		}
		into[s.server].add(d, after)
		requests += after.Requests - before.Requests
	}
	return requests, errors.Join(p.stop(), p.wipe())
}

// byHand does what people do: the value is changed in the database where that is needed, and in the file; the project is
// taken down and brought up. The client is the same, outside of the project: with it inside there would be none meanwhile.
func (p *project) byHand(ctx context.Context, first map[string]string, into map[string]*took) error {
	values := map[string]string{}
	for name, value := range first {
		values[name] = value
	}
	if _, err := p.dockerCompose(ctx, values, "up", "-d", "--wait", "postgres", "redis"); err != nil {
		return err
	}
	for _, s := range subjects[:2] {
		values[s.secret] += "-by-hand"
		d, of, err := p.oneByHand(ctx, s, values)
		if err != nil {
			return err
		}
		into[s.server].add(d, of)
	}
	return p.wipe()
}

func (p *project) oneByHand(ctx context.Context, s subject, values map[string]string) (_ time.Duration, _ tally, err error) {
	file := filepath.Join(p.home, "by-hand-"+s.secret)
	if err := os.WriteFile(file, []byte(strings.TrimSuffix(values[s.secret], "-by-hand")), 0o600); err != nil {
		return 0, tally{}, err
	}
	args := map[string][]string{
		"redis":    {"-redis=127.0.0.1:" + redisPort, "-redis-file=" + file},
		"postgres": {"-postgres=host=127.0.0.1 port=" + postgresPort + " user=minibot dbname=minibot sslmode=disable", "-postgres-file=" + file},
	}
	c, err := follow(exec.CommandContext(ctx, p.b.hammer, args[s.server]...))
	if err != nil {
		return 0, tally{}, err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	before, err := c.settled(ctx, s.server)
	if err == nil && before.Failures != 0 {
		err = fmt.Errorf("%s failed before the change by hand: %s", s.server, before.Reason)
	}
	if err != nil {
		return 0, tally{}, err
	}
	begin := time.Now()
	if s.server == "postgres" { // the value is in the database, which takes it only while it runs
		psql := exec.CommandContext(ctx, "docker", "exec", "-i", p.name+"-postgres", "psql", "-q", "-U", "minibot", "-d", "minibot")
		psql.Stdin = strings.NewReader("ALTER ROLE minibot PASSWORD '" + values[s.secret] + "'")
		if out, err := psql.CombinedOutput(); err != nil {
			return 0, tally{}, fmt.Errorf("psql: %w: %s", err, out)
		}
	}
	if err := os.WriteFile(file, []byte(values[s.secret]), 0o600); err != nil {
		return 0, tally{}, err
	}
	if _, err := p.dockerCompose(ctx, values, "down"); err != nil {
		return 0, tally{}, err
	}
	if _, err := p.dockerCompose(ctx, values, "up", "-d", "--wait", "postgres", "redis"); err != nil {
		return 0, tally{}, err
	}
	d := time.Since(begin)
	after, err := c.settled(ctx, s.server)
	return d, after, err
}
