package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"minibot/control"
	"minibot/deploy"
	"minibot/rotation"
	"minibot/secrets"
)

// rotated are the secrets of rotating's stack, one of each kind of database that runs in it, and one that its user merely reads.
var rotated = []secrets.Name{"APP_DB", "PLAIN", "POSTGRES_PASSWORD", "REDIS_PASSWORD"}

// sickValue makes the service that reads PLAIN end as soon as it starts.
const sickValue = "canary-plain-sick-"

// extra is what the stack of rotating has beside the shipped databases.
const extra = `
services:
  user:
    image: ${MINIBOT_REDIS_IMAGE}
    container_name: ${MINIBOT_NAME}-user
    entrypoint: ["sh", "-c", "if grep -q sick /run/secrets/PLAIN; then echo no good: $$(cat /run/secrets/PLAIN); exit 3; fi; while :; do sleep 3600 & wait $$!; done"]
    init: true
    network_mode: none
    stop_grace_period: 2s
    secrets: [PLAIN, REDIS_PASSWORD, POSTGRES_PASSWORD, APP_DB]
    depends_on: { postgres: { condition: service_healthy }, redis: { condition: service_healthy } }
    healthcheck: { test: ["CMD", "true"], interval: 2s, timeout: 5s, retries: 1 }
secrets:
  PLAIN: { environment: PLAIN, x-minibot: { generate: { length: 32 } } }
  APP_DB:
    environment: APP_DB
    x-minibot:
      generate: { length: 32 }
      rotate: { driver: postgres, service: postgres, user: minibot, database: minibot, roles: [app_a, app_b], owner: app }
`

// rotatingCompose is the shipped compose file without OpenClaw, and with what more says in YAML.
func rotatingCompose(t *testing.T, more ...string) string {
	t.Helper()
	var all map[string]any
	if err := yaml.Unmarshal(deploy.ComposeFile, &all); err != nil {
		t.Fatal(err)
	}
	part := func(m map[string]any, key string) map[string]any {
		p, ok := m[key].(map[string]any)
		if !ok {
			t.Fatalf("the compose file has no %s", key)
		}
		return p
	}
	delete(all, "configs")
	delete(part(all, "services"), "openclaw")
	delete(part(all, "volumes"), "openclaw")
	for _, name := range []string{"ANTHROPIC_API_KEY", "TELEGRAM_BOT_TOKEN", "OPENCLAW_GATEWAY_TOKEN"} {
		delete(part(all, "secrets"), name)
	}
	for _, text := range append([]string{extra}, more...) {
		var added map[string]map[string]any
		if err := yaml.Unmarshal([]byte(text), &added); err != nil {
			t.Fatal(err)
		}
		for key, entries := range added {
			for name, entry := range entries {
				part(all, key)[name] = entry
			}
		}
	}
	text, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rotating is an installation of rotatingCompose with its secrets set.
func rotating(t *testing.T, engine string, more ...string) *installation {
	t.Helper()
	in := install(t, engine, rotatingCompose(t, more...), map[string]string{"MINIBOT_POSTGRES_PORT": freePort(t), "MINIBOT_REDIS_PORT": freePort(t)})
	var lines strings.Builder
	for _, name := range rotated {
		fmt.Fprintf(&lines, "%s=canary-first-%s\n", name, name)
	}
	in.must(lines.String(), "mb-secrets", "init")
	return in
}

func (in *installation) client() *control.Client {
	return &control.Client{Socket: filepath.Join(in.home, "run", "minibotd.sock")}
}

// values are what the store holds, as mb-secrets shows it.
func (in *installation) values() map[secrets.Name]string {
	in.t.Helper()
	all := map[secrets.Name]string{}
	for _, name := range rotated {
		all[name] = in.must("", "mb-secrets", "get", string(name))
	}
	return all
}

// takes reports whether a database lets a value in.
func (in *installation) takes(name secrets.Name, value string) bool {
	in.t.Helper()
	switch name {
	case "POSTGRES_PASSWORD":
		return in.postgresTakes(value)
	case "REDIS_PASSWORD":
		return in.redisTakes(value)
	case "APP_DB":
		return in.roleTakes("app_a", value) || in.roleTakes("app_b", value)
	}
	return strings.Contains(in.docker("exec", in.container("user"), "cat", "/run/secrets/"+string(name)), value)
}

// roleTakes logs a role in over the container's own address.
func (in *installation) roleTakes(role, password string) bool {
	in.t.Helper()
	out, err := in.dockerCommand(password+"\n", "exec", "-i", in.container("postgres"), "sh", "-c",
		`psql -W -X -q -h "$(hostname -i | cut -d' ' -f1)" -U `+role+` -d minibot -c "select 1"`).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "password authentication failed") {
		in.t.Errorf("psql as %s: %v", role, err)
	}
	return err == nil
}

// agrees checks that the store's values are in force, and that none of the others that there were is.
func (in *installation) agrees(others ...map[secrets.Name]string) map[secrets.Name]string {
	in.t.Helper()
	now := in.values()
	for name, value := range now {
		if !in.takes(name, value) {
			in.t.Errorf("%s: the stored value is not in force", name)
		}
		for _, other := range others {
			if other[name] != "" && other[name] != value && in.takes(name, other[name]) {
				in.t.Errorf("%s: another value is in force too", name)
			}
		}
	}
	return now
}

// receipts are what the journal tells of all changes; none while it cannot be read.
func (in *installation) receipts() []rotation.Receipt {
	all, err := rotation.Receipts(filepath.Join(in.home, "state", "rotation.jsonl"))
	if err != nil {
		return nil
	}
	return all
}

// finished waits until the journal holds nothing open, and returns the last receipt.
func (in *installation) finished() rotation.Receipt {
	in.t.Helper()
	var last rotation.Receipt
	in.poll("a finished rotation", time.Minute, func() bool {
		all := in.receipts()
		if len(all) == 0 {
			return false
		}
		last = all[len(all)-1]
		return last.Outcome != rotation.OutcomeUnfinished
	}, func() string { return fmt.Sprintf("%+v", last) })
	return last
}

// changeAll sets every secret; a PLAIN that is sick makes the change fail late.
func (in *installation) changeAll(plain string) error {
	ctx, cancel := context.WithTimeout(in.t.Context(), 3*time.Minute)
	defer cancel()
	var changes []control.Change
	for _, name := range rotated {
		change := control.Change{Name: name, Generate: true}
		if name == "PLAIN" {
			change = control.Change{Name: name, Value: []byte(plain)}
		}
		changes = append(changes, change)
	}
	return in.client().Change(ctx, control.ChangeOrder{Changes: changes, Order: control.Order{By: "a test"}}, nil)
}

// killedSteps are the steps of a change that comes into force and of one that does not.
var killedSteps = map[bool][]rotation.Step{
	false: {
		rotation.StepBegin, rotation.StepStage, rotation.StepAccept, rotation.StepProve, rotation.StepPrepare, rotation.StepPromote,
		rotation.StepSwitch, rotation.StepVerify, rotation.StepAdopt, rotation.StepSee, rotation.StepRetire, rotation.StepEnd,
	},
	true: {
		rotation.StepRollBack, rotation.StepDemote, rotation.StepSwitchBack, rotation.StepReadopt, rotation.StepRevert, rotation.StepUnstage,
	},
}

// fewSteps are one of each kind of what a SIGKILL meets: nothing but a file, databases that hold both values, a value in force
// that is not delivered, files and roles in the midst of being replaced, users that have not taken it, and the end; the way back likewise.
var fewSteps = map[bool][]rotation.Step{
	false: {rotation.StepStage, rotation.StepProve, rotation.StepPromote, rotation.StepSwitch, rotation.StepAdopt, rotation.StepRetire},
	true:  {rotation.StepSwitchBack, rotation.StepRevert},
}

// TestRotationKilledAtEachStep kills the daemon in steps of each kind of a change of a real Postgres, both ways, and a real
// Redis, and looks at what the next one makes of it. With MINIBOT_EVERY_POINT it dies at every point of every step;
// the rotation's own TestKilledAtEveryPoint does so always, with databases that are made up.
func TestRotationKilledAtEachStep(t *testing.T) {
	t.Parallel()
	moments, all := []rotation.Moment{rotation.BeforeEffect}, fewSteps
	if os.Getenv("MINIBOT_EVERY_POINT") != "" {
		all, moments = killedSteps, []rotation.Moment{rotation.BeforeRecord, rotation.BeforeEffect, rotation.AfterEffect}
	}
	in := rotating(t, "")
	in.start()
	in.healthy(2 * time.Minute)
	before, n := in.agrees(), 0
	for sick, steps := range all {
		for _, step := range steps {
			for _, moment := range moments {
				n++
				plain := fmt.Sprintf("canary-plain-%d", n)
				if sick {
					plain = fmt.Sprintf("%s%d", sickValue, n)
				}
				before = in.dies(rotation.Point{Step: step, Moment: moment}, plain, before)
				if t.Failed() {
					t.Fatalf("after a SIGKILL at %s/%s, with a user that does not get well: %v", step, moment, sick)
				}
			}
		}
	}
}

// dies has the daemon die at a point of a change and starts it again.
func (in *installation) dies(at rotation.Point, plain string, before map[secrets.Name]string) map[secrets.Name]string {
	in.t.Helper()
	in.kill()
	in.start("MINIBOT_DIE_AT=" + at.String())
	in.healthy(time.Minute)
	if err := in.changeAll(plain); err == nil || errors.Is(err, control.ErrRolledBack) {
		in.t.Fatalf("%v: the daemon did not die: %v", at, err)
	}
	<-in.exited
	in.daemon = nil
	in.start()
	in.healthy(time.Minute)
	if at.Step != rotation.StepBegin || at.Moment != rotation.BeforeRecord {
		in.finished()
	}
	in.healthy(time.Minute)
	now := in.agrees(before)
	if strings.HasPrefix(plain, sickValue) && now["PLAIN"] == plain {
		in.t.Error("a value with which its user does not run is in force")
	}
	if fresh := now["PLAIN"] != before["PLAIN"]; fresh != (now["REDIS_PASSWORD"] != before["REDIS_PASSWORD"]) ||
		fresh != (now["POSTGRES_PASSWORD"] != before["POSTGRES_PASSWORD"]) || fresh != (now["APP_DB"] != before["APP_DB"]) {
		in.t.Error("some values are new and some are not")
	}
	return now
}

func TestRotationRollsBack(t *testing.T) {
	t.Parallel()
	in := rotating(t, "")
	in.start()
	in.healthy(2 * time.Minute)
	before := in.agrees()
	r := in.run(sickValue+"1", "mb-secrets", "set", "PLAIN")
	if r.code != 4 || !strings.Contains(r.stdout+r.stderr, "no good: [redacted]") {
		t.Errorf("set: exit %d, %s%s", r.code, r.stdout, r.stderr)
	}
	in.healthy(time.Minute)
	in.agrees()
	if now := in.values(); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Error("a change that was rolled back changed values")
	}
	failed := func(s control.Status) string {
		for _, row := range s.Secrets {
			if row.Name == "PLAIN" {
				return row.Failed
			}
		}
		return ""
	}
	in.term()
	in.start()
	if s := in.healthy(time.Minute); !strings.Contains(failed(s), "user") {
		t.Errorf("the reason is not in status after a restart: %q", failed(s))
	}
	in.must("canary-plain-good", "mb-secrets", "set", "PLAIN")
	if s := in.healthy(time.Minute); failed(s) != "" {
		t.Errorf("the reason stays after a change that went well: %q", failed(s))
	}
	in.must("", "mb-secrets", "rollback", "PLAIN")
	if now := in.agrees(before); now["PLAIN"] != before["PLAIN"] {
		t.Error("rollback did not bring the previous value back")
	}
	var receipts []control.Receipt
	if err := json.Unmarshal([]byte(in.run("", "mb-secrets", "history", "PLAIN", "--json").stdout), &receipts); err != nil || len(receipts) != 3 {
		t.Errorf("history: %v, %+v", err, receipts)
	}
}

func TestRehearsalOnTheRealParts(t *testing.T) {
	t.Parallel()
	in := rotating(t, "")
	in.start()
	in.healthy(2 * time.Minute)
	before, started := in.agrees(), in.started("user")
	out := in.must("", "mb-secrets", "rotate", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "APP_DB", "--rehearse")
	if n := strings.Count(out, "the rehearsal went well"); n != 3 {
		t.Errorf("%d of 3 went well: %s", n, out)
	}
	if now := in.agrees(); fmt.Sprint(now) != fmt.Sprint(before) || in.started("user") != started {
		t.Error("a rehearsal changed something")
	}
	roles := in.docker("exec", in.container("postgres"), "psql", "-U", "minibot", "-d", "minibot", "-Atc", "select rolname from pg_roles where rolname like 'minibot_%'")
	if strings.TrimSpace(roles) != "" {
		t.Errorf("roles are left: %s", roles)
	}
}

// TestOlderDataDirectory has the databases hold other passwords than the store, as after a restore.
func TestOlderDataDirectory(t *testing.T) {
	t.Parallel()
	in := rotating(t, "")
	in.start()
	in.healthy(2 * time.Minute)
	in.term()
	in.docker("exec", in.container("postgres"), "psql", "-U", "minibot", "-d", "minibot", "-qc",
		"ALTER ROLE minibot PASSWORD 'canary-older-pg'; ALTER ROLE app_a PASSWORD 'canary-older-app'")
	older := in.dockerCommand("AUTH "+in.values()["REDIS_PASSWORD"]+"\nACL SETUSER default resetpass >canary-older-redis\n", "exec", "-i", in.container("redis"), "redis-cli")
	if out, err := older.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	in.start()
	now := in.values()
	in.until("the stored passwords in force again", time.Minute, func(s control.Status) bool {
		return s.Phase == control.PhaseHealthy && !slices.ContainsFunc(rotated, func(name secrets.Name) bool { return !in.takes(name, now[name]) })
	})
	in.agrees(map[secrets.Name]string{"POSTGRES_PASSWORD": "canary-older-pg", "REDIS_PASSWORD": "canary-older-redis", "APP_DB": "canary-older-app"})
}
