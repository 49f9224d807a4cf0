package database_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"minibot/database"
	"minibot/database/enginetest"
)

// startRedis passes the password as the shipped compose file does: in hexadecimal, as configuration on stdin. An
// empty one starts it open.
func startRedis(t *testing.T, password string) database.Redis {
	t.Helper()
	img := enginetest.Image("MINIBOT_REDIS_IMAGE", "minibot/redis:local")
	name := enginetest.Start(t, "-i", "--entrypoint", "sh", img, "-c", "mkfifo /tmp/conf; exec redis-server - --bind '*' --protected-mode no </tmp/conf")
	conf := "save \"\"\n"
	if password != "" {
		var hex strings.Builder
		for i := range len(password) {
			fmt.Fprintf(&hex, `\x%02x`, password[i])
		}
		conf += `requirepass "` + hex.String() + "\"\n"
	}
	until(t, "feed Redis its configuration", func() error {
		c := exec.Command("docker", "exec", "-i", name, "sh", "-c", "[ -p /tmp/conf ] && cat >/tmp/conf")
		c.Stdin = strings.NewReader(conf)
		return c.Run()
	})
	return database.Redis{Container: enginetest.Engine{}, Service: name}
}

func TestRedisPasswords(t *testing.T) {
	t.Parallel()
	for name, plain := range map[string]string{
		"every byte": func() string {
			b := make([]byte, 255)
			for i := range b {
				b[i] = byte(i + 1)
			}
			return "canary-REDIS-" + string(b)
		}(),
		"the longest": strings.Repeat("z", database.MaxRedisPassword),
	} {
		t.Run(name, func(t *testing.T) {
			r := startRedis(t, plain)
			seen := watch(t, r.Service)
			until(t, "wait for Redis", func() error { return r.Prove(t.Context(), as(value(t, plain))) })
			absent(t, "a process", seen(), plain)
			mustBe(t, "the wrong one", r.Prove(t.Context(), as(value(t, "canary-REDIS-wrong"))), database.ErrRefused)
			named := r
			named.User = "default"
			if err := named.Prove(t.Context(), as(value(t, plain))); err != nil {
				t.Error("by the user's name:", err)
			}
		})
	}
	mustBe(t, "too long", database.Check(database.DriverRedis, value(t, strings.Repeat("z", database.MaxRedisPassword+1))), database.ErrUnfit)
}

func TestRedisProofIsNotFooled(t *testing.T) {
	t.Parallel()
	r := startRedis(t, "")
	until(t, "wait for Redis", func() error {
		if err := r.Prove(t.Context(), as(value(t, "canary-REDIS-any"))); database.Transient(err) {
			return err
		}
		return nil
	})
	mustBe(t, "no password set", r.Prove(t.Context(), as(value(t, "canary-REDIS-any"))), database.ErrOpen)
	// A user without a password lets everyone in who says hello.
	enginetest.Docker(t, "exec", r.Service, "redis-cli", "ACL", "SETUSER", "open", "on", "nopass", "+ping")
	enginetest.Docker(t, "exec", r.Service, "redis-cli", "CONFIG", "SET", "requirepass", "canary-REDIS-set")
	open := r
	open.User = "open"
	mustBe(t, "a user without a password", open.Prove(t.Context(), as(value(t, "canary-REDIS-any"))), database.ErrOpen)
	enginetest.Docker(t, "stop", "-t", "1", r.Service)
	mustBe(t, "stopped", r.Prove(t.Context(), as(value(t, "canary-REDIS-any"))), database.ErrNotReady)
}
