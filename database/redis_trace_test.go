package database_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"minibot/database"
	"minibot/database/enginetest"
)

// everyByte holds each byte that a value may hold.
func everyByte(canary string) string {
	b := make([]byte, 255)
	for i := range b {
		b[i] = byte(i + 1)
	}
	return canary + string(b)
}

// The whole change with every byte and with the longest passwords, everything watched: no plain text shows, nor a hash.
func TestRedisLeavesNoTrace(t *testing.T) {
	t.Parallel()
	first, next := everyByte("canary-REDIS-first"), "canary-REDIS-next"+strings.Repeat("z", database.MaxRedisPassword-17)
	r := startComposeRedis(t, first)
	since := time.Now().Unix()
	seen := watch(t, r.Service)
	ctx, c := t.Context(), change(t, first, next)
	monitor(t, r, first)
	_, err := r.InUse(ctx, c, time.Now())
	must(t, "in use", err)
	must(t, "accept", r.Accept(ctx, c))
	must(t, "the first one beside", r.Prove(ctx, c.Current))
	must(t, "the next one", r.Prove(ctx, c.Next))
	db, one, end, err := r.Rehearsal(ctx, c.Current)
	must(t, "rehearse", err)
	must(t, "accept in a rehearsal", db.Accept(ctx, database.Change{Current: one, Next: c.Next}))
	must(t, "end the rehearsal", end(ctx))
	mustBe(t, "a wrong one", r.Prove(ctx, as(value(t, redisWrong))), database.ErrRefused)
	must(t, "retire", r.Retire(ctx, c))
	mustBe(t, "the retired one", r.Prove(ctx, c.Current), database.ErrRefused)
	must(t, "revert", r.Revert(ctx, c))
	places := map[string]string{
		"a process":    seen(),
		"MONITOR":      shell(t, r, "cat /tmp/monitored", ""),
		"SLOWLOG":      asRedis(t, r, first, "SLOWLOG GET 10000"),
		"ACL LOG":      asRedis(t, r, first, "ACL LOG 1000"),
		"a log":        enginetest.Docker(t, "logs", r.Service),
		"an exec":      enginetest.Docker(t, "events", "--since", fmt.Sprint(since), "--until", fmt.Sprint(time.Now().Unix()+1), "--filter", "container="+r.Service),
		"the inspect":  enginetest.Docker(t, "inspect", r.Service),
		"the data":     shell(t, r, "grep -rla canary- /data || true", ""),
		"the ACL file": shell(t, r, "cat /data/users.acl", ""),
	}
	for where, part := range map[string]string{"MONITOR": `"PING"`, "SLOWLOG": "SETUSER", "ACL LOG": "username", "a log": "Accepted", "an exec": "redis-cli", "the ACL file": hash(first)} {
		if !strings.Contains(places[where], part) {
			t.Errorf("%s does not show %s: nothing is proved by it", where, part)
		}
	}
	for where, text := range places {
		absent(t, where, text, "canary-", escaped("canary-"))
		if where != "the ACL file" {
			absent(t, where, text, hash(first), hash(next))
		}
	}
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// opened leaves redis-cli running in the container, given commands, and waits until the file shows the reply so many times. The fourth
// descriptor is what a background job does not lose as its input.
func opened(t *testing.T, r database.Redis, commands, file, reply string, times int) {
	t.Helper()
	shell(t, r, `exec 3<&0; : >`+file+`; { (cat <&3; exec tail -f /dev/null) | redis-cli; } >`+file+` 2>&1 &
		n=0; until [ "$(grep -c '`+reply+`' `+file+`)" -ge `+fmt.Sprint(times)+` ]; do sleep 0.1; n=$((n+1)); [ $n -lt 300 ] || exit 1; done`, commands)
}

// monitor writes what MONITOR shows to /tmp/monitored, and returns when it is on.
func monitor(t *testing.T, r database.Redis, password string) {
	t.Helper()
	opened(t, r, `AUTH default "`+escaped(password)+"\"\nMONITOR\n", "/tmp/monitored", "OK", 2)
}

// asRedis gives commands to redis-cli after logging in with any password.
func asRedis(t *testing.T, r database.Redis, password string, commands ...string) string {
	t.Helper()
	return redisCLI(t, r, append([]string{`AUTH default "` + escaped(password) + `"`}, commands...)...)
}

func escaped(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, `\x%02x`, s[i])
	}
	return b.String()
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestRedisInUse(t *testing.T) {
	t.Parallel()
	r := startComposeRedis(t, redisFirst)
	ctx, c := t.Context(), change(t, redisFirst, redisNext)
	redisCLI(t, r, "AUTH "+redisFirst, "ACL SETUSER app on >"+redisFirst+" +@all", "SET a b")
	in := func(login string) {
		opened(t, r, login+"\nPING\n", "/tmp/out", "PONG", 1)
	}
	in("AUTH " + redisFirst)
	in("AUTH " + redisFirst)
	in("AUTH app " + redisFirst)
	begun := time.Now()
	count := func(since time.Time) int {
		n, err := r.InUse(ctx, c, since)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	until(t, "see the two sessions", func() error {
		if n := count(time.Now()); n != 2 {
			return fmt.Errorf("%d sessions", n)
		}
		return nil
	})
	if err := r.Accept(ctx, c); err != nil {
		t.Fatal(err)
	}
	switched := time.Now()
	in("AUTH " + redisNext)
	until(t, "see the third one as well", func() error { // its age in whole seconds has to exceed what the question takes
		if n := count(time.Now()); n != 3 {
			return fmt.Errorf("%d sessions", n)
		}
		return nil
	})
	asked := time.Now()
	n := count(switched)
	if certain := switched.Sub(begun) > 2*time.Second+time.Since(asked); n > 2 || n < 2 && certain {
		t.Errorf("%d sessions from before the switch, want 2", n)
	}
	if n := count(begun.Add(-time.Hour)); n != 0 {
		t.Errorf("%d sessions from before the test", n)
	}
	if n := count(time.Now().Add(time.Hour)); n != 3 {
		t.Errorf("%d sessions with the clock set back, want 3", n)
	}
	redisCLI(t, r, "AUTH "+redisFirst, "ACL SETUSER default -client|list")
	if n := count(time.Now()); n != 0 {
		t.Errorf("%d sessions where it cannot be told", n)
	}
}

func TestRedisRehearsal(t *testing.T) {
	t.Parallel()
	r := startComposeRedis(t, redisFirst)
	ctx, now := t.Context(), as(value(t, redisFirst))
	users := func() string { return asRedis(t, r, redisFirst, "ACL USERS") + shell(t, r, "cat users.acl", "") }
	if _, _, _, err := r.Rehearsal(ctx, now); err != nil { // one whose end never comes
		t.Fatal(err)
	}
	db, first, end, err := r.Rehearsal(ctx, now)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(users(), "minibot-rehearsal-"); n != 2 { // in memory and in the file
		t.Errorf("%d throwaway users in memory and file, want 2", n)
	}
	c := database.Change{Current: first, Next: as(value(t, redisNext))}
	must(t, "the first one", db.Prove(ctx, first))
	must(t, "accept", db.Accept(ctx, c))
	must(t, "the first one beside", db.Prove(ctx, first))
	must(t, "retire", db.Retire(ctx, c))
	mustBe(t, "the first one", db.Prove(ctx, first), database.ErrRefused)
	if err := db.Prove(ctx, c.Next); err != nil {
		t.Error("the next one:", err)
	}
	mustBe(t, "with a wrong current one", db.Accept(ctx, database.Change{Current: first, Next: as(value(t, redisWrong))}), database.ErrRefused)
	if out := redisCLI(t, db, "AUTH "+db.User+" "+redisNext, "PING", "SET a b"); !strings.HasPrefix(out, "OK\nPONG\nNOPERM") {
		t.Errorf("what it may: %q", out)
	}
	for range 2 {
		if err := end(ctx); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(users(), "rehearsal") {
			t.Error("a throwaway user is left")
		}
	}
	if err := r.Prove(ctx, now); err != nil {
		t.Error("the real one afterwards:", err)
	}
}
