package deploy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"
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

// killed lets prepare change the data, ends the container as a crash would, starts it again and waits.
func killed(t *testing.T, id, prepare string) {
	t.Helper()
	mustDocker(t, "", "exec", id, "sh", "-euc", prepare)
	mustDocker(t, "", "kill", id)
	mustDocker(t, "", "start", id)
	for end := time.Now().Add(time.Minute); !healthy(t, "redis", id); {
		if time.Now().After(end) {
			t.Fatalf("not healthy:\n%s", mustDocker(t, "", "logs", id))
		}
	}
}

const everything = " ~* &* +@all"

func TestRedisKeepsItsPasswordsOverACrash(t *testing.T) {
	delivered, other := "canary-REDIS-"+unique(t), "canary-OTHER-"+unique(t)
	id := start(t, "redis", "REDIS_PASSWORD", &delivered)
	awaitHealthy(t, "redis", id, delivered)
	line := "user default on" + everything + " #"
	for _, c := range []struct {
		what, prepare string
		two           bool
	}{
		{"two passwords", "echo '" + line + sha(other) + " #" + sha(delivered) + "' >users.acl", true},
		{"no file, as before there was one", "rm users.acl", false},
		// A user beside the default one is not minibot's: it survives when the default user's password is put right.
		{"an older password", "printf 'user app on #" + sha(other) + " ~app:* +@all\\n\\nuser default on #" + sha(other) + everything + " -flushall\\n' >users.acl", false},
	} {
		t.Run(c.what, func(t *testing.T) {
			killed(t, id, c.prepare)
			out := says(t, id, "PING", "AUTH wrong", "AUTH "+delivered, "ACL SAVE", "SET a b", "AUTH "+other)
			want := []string{"NOAUTH", "WRONGPASS", "OK", "OK", "OK", map[bool]string{true: "OK", false: "WRONGPASS"}[c.two]}
			var got []string
			for l := range strings.Lines(out) {
				if f := strings.Fields(l); len(f) > 0 {
					got = append(got, f[0])
				}
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("got %v, want %v", got, want)
			}
			if out := mustDocker(t, "", "exec", id, "sh", "-c", `stat -c '%a %U' users.acl; grep -rl canary- . || true`); out != "600 redis" {
				t.Errorf("mode, owner and plain text: %q", out)
			}
		})
	}
	if out := says(t, id, "AUTH app "+other, "SET app:x 1", "SET y 1"); !strings.HasPrefix(out, "OK\nOK\nNOPERM") {
		t.Errorf("the other user: %q", out)
	}
	if out := says(t, id, "AUTH "+delivered, "FLUSHALL"); !strings.HasPrefix(out, "OK\nNOPERM") {
		t.Errorf("what the default user may not do: %q", out)
	}
}

// The entrypoint alone, with another program in place of the image's own.
func TestRedisEntrypointMendsItsFile(t *testing.T) {
	delivered, other := "canary-REDIS-"+unique(t), "canary-OTHER-"+unique(t)
	id := start(t, "redis", "REDIS_PASSWORD", &delivered)
	awaitHealthy(t, "redis", id, delivered)
	mustDocker(t, "", "exec", id, "sh", "-euc", `mkdir /tmp/bin; printf '#!/bin/sh\necho "$@"\n' >/tmp/bin/docker-entrypoint.sh; chmod 755 /tmp/bin/docker-entrypoint.sh`)
	script := strings.ReplaceAll(compose(t)["redis"].Entrypoint[2], "$$", "$")
	app, good := "user app on #"+sha(other)+everything, "user default on"+everything+" #"+sha(delivered)
	both := good + " #" + sha(other)
	seven, eight := "user default on #"+sha(delivered)+" #"+sha(other)+everything, "user default on sanitize-payload #"+sha(other)+" #"+sha(delivered)+everything
	for what, c := range map[string]struct{ before, want string }{
		"one":               {good + `\n`, good},
		"two":               {both + `\n`, both},
		"as Redis 7 saves":  {seven + `\n`, seven},
		"as Redis 8 saves":  {eight + `\n`, eight},
		"two and a user":    {app + `\n` + both + `\n`, app + "\n" + both},
		"plain text":        {"user default on >" + other + everything + `\n`, "user default on" + everything + " on #" + sha(delivered)},
		"open to all":       {"user default on nopass" + everything + `\n`, "user default on" + everything + " on #" + sha(delivered)},
		"nopass at the end": {good + ` nopass\n`, "user default on" + everything + " nopass on #" + sha(delivered)},
		"reset at the end":  {good + ` resetpass\n`, "user default on" + everything + " resetpass on #" + sha(delivered)},
		"switched off":      {strings.Replace(good, " on ", " off ", 1) + `\n`, "user default off" + everything + " on #" + sha(delivered)},
		"torn in the line":  {both, good},
		"torn to zeros":     {both + `\n\0\0\n`, good},
		"empty":             {"", good},
		"no default user":   {app + `\n`, good},
		"two default users": {good + `\n` + both + `\n`, good},
		"of no such kind":   {`users: []\n`, good},
	} {
		t.Run(what, func(t *testing.T) {
			out := mustDocker(t, "", "exec", id, "sh", "-euc", `printf "$0" >users.acl; echo x >users.acl.new; chown root users.acl*; chmod 400 users.acl*
				PATH=/tmp/bin:$PATH sh -c "$1" minibot-redis --more 2>/dev/null; ls users.acl*; stat -c %U users.acl; cat users.acl`, c.before, script)
			if want := "redis-server --aclfile /data/users.acl --more\nusers.acl\nredis\n" + c.want; out != want {
				t.Errorf("got  %s\nwant %s", out, want)
			}
		})
	}
}
