package database_test

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"minibot/database"
	"minibot/database/enginetest"
	"minibot/deploy"
)

// composeRedis is the argument list with which deploy/compose.yaml starts Redis.
func composeRedis(t testing.TB) []string {
	t.Helper()
	var file struct {
		Services map[string]struct{ Entrypoint, Command []string }
	}
	if err := yaml.Unmarshal(deploy.ComposeFile, &file); err != nil {
		t.Fatal(err)
	}
	s := file.Services["redis"]
	argv := append(s.Entrypoint, s.Command...)
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "$$", "$")
	}
	return argv
}

// startComposeRedis starts Redis as the stack does, with the password delivered as a file; options are docker run's. The
// slow log takes every command.
func startComposeRedis(t testing.TB, password string, options ...string) database.Redis {
	t.Helper()
	argv := append(composeRedis(t), "--slowlog-log-slower-than", "0", "--slowlog-max-len", "10000", "--loglevel", "debug")
	const wait = `until [ -s /run/secrets/REDIS_PASSWORD ]; do sleep 0.1; done; exec "$@"`
	args := append([]string{"--tmpfs", "/run/secrets:mode=0755", "--entrypoint", "sh"}, options...)
	args = append(args, enginetest.Image("MINIBOT_REDIS_IMAGE", "minibot/redis:local"), "-c", wait, "-")
	r := database.Redis{Container: enginetest.Engine{}, Service: enginetest.Start(t, append(args, argv...)...)}
	deliver(t, r, password)
	awaitRedis(t, r, password)
	return r
}

// deliver replaces the password file, as the keeper does.
func deliver(t testing.TB, r database.Redis, password string) {
	t.Helper()
	shell(t, r, `cat >/run/secrets/new && mv /run/secrets/new /run/secrets/REDIS_PASSWORD`, password)
}

// shell runs a shell script in the container and returns what it prints.
func shell(t testing.TB, r database.Redis, script, stdin string) string {
	t.Helper()
	res, err := enginetest.Engine{}.Exec(t.Context(), r.Service, []string{"sh", "-c", script}, []byte(stdin))
	if err != nil || res.ExitCode != 0 {
		t.Fatalf("in the container: %v, exit code %d\n%s", err, res.ExitCode, res.Stderr)
	}
	return string(res.Stdout)
}

func awaitRedis(t testing.TB, r database.Redis, password string) {
	t.Helper()
	until(t, "wait for Redis", func() error { return r.Prove(t.Context(), as(value(t, password))) })
}

// crash kills the container, delivers and starts it again.
func crash(t testing.TB, r database.Redis, delivered string) {
	t.Helper()
	enginetest.Docker(t, "kill", r.Service)
	enginetest.Docker(t, "start", r.Service)
	deliver(t, r, delivered) // its memory is empty after a start
	awaitRedis(t, r, delivered)
}

// valid tells which of the passwords log in, as "first next", by asking the server itself.
func validIn(t testing.TB, r database.Redis, named map[string]string) string {
	t.Helper()
	user := r.User
	if user == "" {
		user = "default"
	}
	var names, commands, in []string
	for _, name := range []string{"first", "next", "third"} {
		if password, ok := named[name]; ok {
			names, commands = append(names, name), append(commands, "AUTH "+user+" "+password)
		}
	}
	var replies []string
	for line := range strings.Lines(redisCLI(t, r, commands...)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			replies = append(replies, fields[0])
		}
	}
	if len(replies) != len(names) {
		t.Fatalf("replies: %q", replies)
	}
	for i, name := range names {
		if replies[i] == "OK" {
			in = append(in, name)
		}
	}
	return strings.Join(in, " ")
}

// redisCLI gives redis-cli in the container the commands.
func redisCLI(t testing.TB, r database.Redis, commands ...string) string {
	t.Helper()
	return shell(t, r, "redis-cli", strings.Join(commands, "\n")+"\n")
}
