package database_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"minibot/database"
	"minibot/database/enginetest"
)

const (
	redisFirst = "canary-REDIS-first"
	redisNext  = "canary-REDIS-next"
	redisWrong = "canary-REDIS-wrong"
)

func change(t testing.TB, current, next string) database.Change {
	t.Helper()
	return database.Change{Current: as(value(t, current)), Next: as(value(t, next))}
}

// Every call from every state that a crash can leave, and again.
func TestRedisChange(t *testing.T) {
	t.Parallel()
	r := startComposeRedis(t, redisFirst)
	if !r.Live() || !r.Overlaps() || r.Successor("") != "" {
		t.Error("not a live, overlapping driver of one user")
	}
	named := map[string]string{"first": redisFirst, "next": redisNext}
	c := change(t, redisFirst, redisNext)
	states := map[string]func() error{
		"first":      func() error { return r.Revert(t.Context(), c) },
		"first next": func() error { return r.Accept(t.Context(), c) },
		"next":       func() error { return r.Retire(t.Context(), c) },
	}
	calls := map[string]struct {
		call func() error
		want map[string]string // by the state before
	}{
		"accept": {states["first next"], map[string]string{"first": "first next", "first next": "first next", "next": "next"}},
		"retire": {states["next"], map[string]string{"first": "next", "first next": "next", "next": "next"}},
		"revert": {states["first"], map[string]string{"first": "first", "first next": "first", "next": "first"}},
	}
	for before := range states {
		for name, call := range calls {
			t.Run(name+" where "+before+" is valid", func(t *testing.T) {
				for _, to := range []string{"first", before} { // "first next" is reached from "first" alone
					if err := states[to](); err != nil {
						t.Fatal(err)
					}
				}
				if got := validIn(t, r, named); got != before {
					t.Fatalf("before: %q is valid, want %q", got, before)
				}
				for range 2 {
					if err := call.call(); err != nil {
						t.Fatal(err)
					}
					if got := validIn(t, r, named); got != call.want[before] {
						t.Errorf("%q is valid, want %q", got, call.want[before])
					}
				}
			})
		}
	}
}

func TestRedisWrongCurrent(t *testing.T) {
	t.Parallel()
	r := startComposeRedis(t, redisFirst)
	named := map[string]string{"first": redisFirst, "next": redisNext, "third": redisWrong}
	c := change(t, redisWrong, redisNext)
	ctx := t.Context()
	mustBe(t, "accept", r.Accept(ctx, c), database.ErrRefused)
	mustBe(t, "retire", r.Retire(ctx, c), database.ErrRefused)
	mustBe(t, "revert", r.Revert(ctx, c), database.ErrRefused)
	_, err := r.InUse(ctx, c, time.Now())
	mustBe(t, "in use", err, database.ErrRefused)
	_, _, _, err = r.Rehearsal(ctx, c.Current)
	mustBe(t, "rehearsal", err, database.ErrRefused)
	mustBe(t, "assert", r.Assert(ctx, c.Current), database.ErrNoEntrance)
	if got := validIn(t, r, named); got != "first" {
		t.Errorf("%q is valid after refusals", got)
	}
	// A third password ends when one is asserted that logs in.
	redisCLI(t, r, "AUTH "+redisFirst, "ACL SETUSER default >"+redisWrong)
	if err := r.Assert(ctx, as(value(t, redisFirst))); err != nil {
		t.Error("assert what logs in:", err)
	}
	if got := validIn(t, r, named); got != "first" {
		t.Errorf("%q is valid after assert", got)
	}
	// A first password is the one that it was started with.
	first := database.Change{Next: as(value(t, redisFirst))}
	if err := r.Accept(ctx, first); err != nil {
		t.Error("accept a first one:", err)
	}
	if err := r.Revert(ctx, first); err != nil {
		t.Error("revert a first one:", err)
	}
	if got := validIn(t, r, named); got != "first" {
		t.Errorf("%q is valid after a first one", got)
	}
}

// A crash at each point, with the file that is delivered by then; and an older ACL file from a backup.
func TestRedisCrash(t *testing.T) {
	t.Parallel()
	r := startComposeRedis(t, redisFirst)
	named := map[string]string{"first": redisFirst, "next": redisNext}
	c := change(t, redisFirst, redisNext)
	step := func(what, want string, f func(context.Context, database.Change) error, delivered string) {
		t.Helper()
		if err := f(t.Context(), c); err != nil {
			t.Fatal(what, err)
		}
		crash(t, r, delivered)
		if got := validIn(t, r, named); got != want {
			t.Errorf("killed after %s, %s delivered: %q is valid, want %q", what, strings.TrimPrefix(delivered, "canary-REDIS-"), got, want)
		}
	}
	backup := shell(t, r, "cat users.acl", "")
	step("accept", "first next", r.Accept, redisFirst)
	step("accept", "first next", r.Accept, redisNext)
	step("retire", "next", r.Retire, redisNext)
	shell(t, r, "cat >users.acl", backup)
	crash(t, r, redisNext)
	if got := validIn(t, r, named); got != "next" {
		t.Errorf("with an older ACL file %q is valid", got)
	}
	c = change(t, redisNext, redisFirst)
	step("accept", "first next", r.Accept, redisNext)
	step("revert", "next", r.Revert, redisNext)
}

// Without an ACL file a change holds until the next start, where the delivered file decides.
func TestRedisWithoutACLFile(t *testing.T) {
	t.Parallel()
	r := startRedis(t, redisFirst)
	awaitRedis(t, r, redisFirst)
	named := map[string]string{"first": redisFirst, "next": redisNext}
	c := change(t, redisFirst, redisNext)
	for i, f := range []func(context.Context, database.Change) error{r.Accept, r.Revert, r.Accept, r.Retire} {
		if err := f(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got, want := validIn(t, r, named), []string{"first next", "first", "first next", "next"}[i]; got != want {
			t.Errorf("step %d: %q is valid, want %q", i, got, want)
		}
	}
}

// What else a user may or may not do stays.
func TestRedisNamedUser(t *testing.T) {
	t.Parallel()
	r := startComposeRedis(t, redisFirst)
	admin := "AUTH " + redisFirst
	redisCLI(t, r, admin, "ACL SETUSER app on >"+redisFirst+" ~app:* &app.* -@all +get +set +acl|setuser +acl|save +client|list +ping", "ACL SAVE")
	app := r
	app.User = "app"
	rules := func() string {
		out := redisCLI(t, r, admin, "ACL GETUSER app")
		_, after, _ := strings.Cut(out, "\ncommands")
		flags, _, _ := strings.Cut(out, "\npasswords")
		return flags + after
	}
	before := rules()
	c := change(t, redisFirst, redisNext)
	for _, f := range []func(context.Context, database.Change) error{app.Accept, app.Retire} {
		if err := f(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := rules(); got != before {
			t.Errorf("rules:\n%s\nwant:\n%s", got, before)
		}
	}
	if got := validIn(t, app, map[string]string{"first": redisFirst, "next": redisNext}); got != "next" {
		t.Errorf("%q is valid", got)
	}
	if got := validIn(t, r, map[string]string{"first": redisFirst, "next": redisNext}); got != "first" {
		t.Errorf("for the default user %q is valid", got)
	}
	redisCLI(t, r, admin, "ACL SETUSER app -acl")
	err := app.Accept(t.Context(), change(t, redisNext, redisFirst))
	if err == nil || !strings.Contains(err.Error(), "no permission") {
		t.Errorf("without permission: %v", err)
	}
}

// On a full disk Accept takes back what it added, and Revert ends what is on disk already.
func TestRedisFullDisk(t *testing.T) {
	t.Parallel()
	r := startComposeRedis(t, redisFirst, "--tmpfs", "/data:size=1m")
	named := map[string]string{"first": redisFirst, "next": redisNext}
	c := change(t, redisFirst, redisNext)
	const fill = "cat /dev/zero >full 2>/dev/null; cat /dev/zero >>full 2>/dev/null; true"
	shell(t, r, fill, "")
	err := r.Accept(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "cannot write its ACL file") {
		t.Errorf("accept: %v", err)
	}
	if got := validIn(t, r, named); got != "first" {
		t.Errorf("%q is valid after a failed accept", got)
	}
	if err := r.Revert(t.Context(), c); err != nil {
		t.Error("revert what is not on disk:", err)
	}
	if _, _, _, err := r.Rehearsal(t.Context(), c.Current); err == nil {
		t.Error("a rehearsal succeeds")
	}
	shell(t, r, "rm full", "")
	if err := r.Accept(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	shell(t, r, fill, "")
	if err := r.Retire(t.Context(), c); err == nil {
		t.Error("retire succeeds, and the file holds both")
	}
	shell(t, r, "rm full", "")
	if err := r.Retire(t.Context(), c); err != nil {
		t.Error(err)
	}
	if got := shell(t, r, "grep -o '#' users.acl | wc -l", ""); strings.TrimSpace(got) != "1" {
		t.Errorf("the file holds %s passwords", got)
	}
	enginetest.Docker(t, "stop", "-t", "1", r.Service)
	mustBe(t, "stopped", r.Accept(t.Context(), c), database.ErrNotReady)
}
