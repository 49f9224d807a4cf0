package deploy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// says gives redis-cli in the container the commands.
func says(t *testing.T, id string, commands ...string) string {
	t.Helper()
	return mustDocker(t, strings.Join(commands, "\n")+"\n", "exec", "-i", id, "redis-cli")
}

// killed ends the container as a crash would, lets prepare change the data in its volume, and starts it again.
func killed(t *testing.T, id, prepare string) {
	t.Helper()
	if prepare != "" {
		mustDocker(t, "", "exec", id, "sh", "-euc", prepare)
	}
	mustDocker(t, "", "kill", id)
	mustDocker(t, "", "start", id)
}

func TestRedisKeepsItsPasswordsOverACrash(t *testing.T) {
	delivered := "canary-REDIS-" + unique(t)
	other, third := delivered+"-other", delivered+"-third"
	id := start(t, "redis", "REDIS_PASSWORD", &delivered)
	awaitHealthy(t, "redis", id, delivered)
	rule := "user default on ~* &* +@all #"
	app := "user app on #" + sha(third) + " ~app:* &* +@all"
	for _, c := range []struct {
		what, prepare string
		valid         []string
	}{
		{"as it was", "", []string{delivered}},
		{"two passwords", "echo '" + rule + sha(other) + " #" + sha(delivered) + "' >users.acl", []string{delivered, other}},
		{"no file, as before there was one", "rm users.acl", []string{delivered}},
		{"an older password", "echo '" + rule + sha(other) + "' >users.acl", []string{delivered}},
		{"plain text", "echo 'user default on ~* &* +@all >" + other + "' >users.acl", []string{delivered}},
		{"open to all", "echo 'user default on nopass ~* &* +@all' >users.acl", []string{delivered}},
		{"nopass last", "echo '" + rule + sha(delivered) + " nopass' >users.acl", []string{delivered}},
		{"switched off", "echo 'user default off ~* &* +@all #" + sha(delivered) + "' >users.acl", []string{delivered}},
		{"torn in the line", "printf '" + rule + sha(delivered) + "' >users.acl", []string{delivered}},
		{"torn to zeros", "echo '" + rule + sha(delivered) + "' >users.acl; printf '\\0\\0\\n' >>users.acl", []string{delivered}},
		{"empty", ": >users.acl", []string{delivered}},
		{"another user only", "echo '" + app + "' >users.acl", []string{delivered}},
		{"no file of its kind", "echo 'users: []' >users.acl", []string{delivered}},
		{"a file of root's, and a half-written one", "echo '" + rule + sha(other) + "' >users.acl; echo x >users.acl.new; chown root users.acl*; chmod 600 users.acl*", []string{delivered}},
	} {
		t.Run(c.what, func(t *testing.T) {
			killed(t, id, c.prepare)
			awaitHealthy(t, "redis", id, delivered)
			for _, p := range []string{delivered, other, third} {
				want := strings.Contains(strings.Join(c.valid, " ")+" ", p+" ")
				if got := strings.Contains(says(t, id, "AUTH "+p, "PING"), "PONG"); got != want {
					t.Errorf("%s logs in: %v, want %v", strings.TrimPrefix(p, delivered), got, want)
				}
			}
			if out := says(t, id, "PING"); !strings.Contains(out, "NOAUTH") {
				t.Errorf("without a password: %q", out)
			}
			if out := says(t, id, "AUTH "+delivered, "ACL SAVE", "SET a b"); strings.Contains(out, "ERR") || strings.Count(out, "OK") != 3 {
				t.Errorf("save: %q", out)
			}
			if out := mustDocker(t, "", "exec", id, "sh", "-c", `stat -c '%a %U' users.acl; ls | grep -c new || true; grep -rl "$0" . || true`, "canary-"); out != "600 redis\n0" {
				t.Errorf("mode, owner, leftovers and plain text: %q", out)
			}
		})
	}
}

// A user beside the default one is not minibot's: it survives when the default user's password is put right.
func TestRedisKeepsOtherUsers(t *testing.T) {
	delivered, appPassword := "canary-REDIS-"+unique(t), "canary-APP-"+unique(t)
	id := start(t, "redis", "REDIS_PASSWORD", &delivered)
	awaitHealthy(t, "redis", id, delivered)
	killed(t, id, "printf 'user app on #"+sha(appPassword)+" ~app:* &* +@all\\n\\nuser default on #"+sha("canary-old")+" ~* &* +@all -flushall\\n' >users.acl")
	awaitHealthy(t, "redis", id, delivered)
	if out := says(t, id, "AUTH app "+appPassword, "SET app:x 1", "SET y 1"); !strings.HasPrefix(out, "OK\nOK\nNOPERM") {
		t.Errorf("the other user: %q", out)
	}
	if out := says(t, id, "AUTH "+delivered, "FLUSHALL", "AUTH canary-old"); !strings.HasPrefix(out, "OK\nNOPERM") || !strings.Contains(out, "WRONGPASS") {
		t.Errorf("the default user: %q", out)
	}
}
