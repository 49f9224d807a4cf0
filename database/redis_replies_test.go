package database_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"minibot/database"
)

// told is a container whose redis-cli answers each conversation in turn; the last one for ever.
type told struct {
	answers []database.Result
	scripts []string
}

func (f *told) Exec(_ context.Context, _ string, _ []string, stdin []byte) (database.Result, error) {
	f.scripts = append(f.scripts, string(stdin))
	return f.answers[min(len(f.scripts), len(f.answers))-1], nil
}

func lines(replies ...string) database.Result {
	return database.Result{Stdout: []byte(strings.Join(replies, "\n\n") + "\n")}
}

const (
	noauth    = "NOAUTH Authentication required."
	wrongpass = "WRONGPASS invalid username-password pair or user is disabled."
	noFile    = "ERR This Redis instance is not configured to use an ACL file. You may want to specify users"
	notSaved  = "ERR There was an error trying to save the ACLs. Please check the server logs for more information"
	noPerm    = "NOPERM User canary-user has no permissions to run the 'acl|setuser' command"
)

// What Redis answers becomes an error of this package, or a clear one, and is never quoted.
func TestRedisReplies(t *testing.T) {
	r, c := func(f *told) database.Redis { return database.Redis{Container: f, Service: "redis"} }, change(t, redisFirst, redisNext)
	accept := func(f *told) error { return r(f).Accept(t.Context(), c) }
	prove := func(f *told) error { return r(f).Prove(t.Context(), c.Next) }
	inUse := func(f *told) error { _, err := r(f).InUse(t.Context(), c, time.Now()); return err }
	in := lines(noauth, wrongpass, "OK", wrongpass, "PONG") // with two credentials, the first one let in
	none, another := error(nil), errors.New("none of the package's")
	for what, f := range map[string]struct {
		call func(*told) error
		told []database.Result
		want error
		says string
	}{
		"let in":             {prove, []database.Result{lines(noauth, wrongpass, "OK", "PONG")}, none, ""},
		"disk full":          {prove, []database.Result{lines(noauth, wrongpass, "OK", "MISCONF Redis is configured to save")}, none, ""},
		"may not ping":       {prove, []database.Result{lines(noauth, wrongpass, "OK", noPerm)}, none, ""},
		"refused":            {prove, []database.Result{lines(noauth, wrongpass, wrongpass, noauth)}, database.ErrRefused, ""},
		"loading":            {prove, []database.Result{lines(noauth, wrongpass, "OK", "LOADING Redis is loading the dataset in memory")}, database.ErrNotReady, "loading"},
		"busy":               {prove, []database.Result{lines(noauth, wrongpass, "OK", "BUSY Redis is busy running a script.")}, database.ErrNotReady, "busy"},
		"without a master":   {prove, []database.Result{lines(noauth, wrongpass, "OK", "MASTERDOWN Link with MASTER is down")}, database.ErrNotReady, ""},
		"open":               {prove, []database.Result{lines("PONG", wrongpass, "OK", "PONG")}, database.ErrOpen, ""},
		"open to a name":     {prove, []database.Result{lines(noauth, "OK", "OK", "PONG")}, database.ErrOpen, ""},
		"protected":          {prove, []database.Result{lines("DENIED Redis is running in protected mode", "x", "x", "x")}, database.ErrOpen, "protected"},
		"too many":           {prove, []database.Result{lines("ERR max number of clients reached", "x", "x", "x")}, database.ErrNotReady, "connection"},
		"broken off":         {prove, []database.Result{lines(noauth, wrongpass)}, database.ErrNotReady, "2 of 4"},
		"killed":             {prove, []database.Result{{ExitCode: 137}}, database.ErrNotReady, ""},
		"hung up":            {prove, []database.Result{{Stdout: lines(noauth, "x", "x", "x").Stdout, Stderr: []byte("Error: Server closed the connection")}}, database.ErrNotReady, ""},
		"no redis-cli":       {prove, []database.Result{{ExitCode: 127}}, another, "no redis-cli"},
		"more than asked":    {prove, []database.Result{lines(noauth, wrongpass, "OK", "OK", "PONG")}, another, "unexpected"},
		"neither logs in":    {accept, []database.Result{lines(noauth, wrongpass, wrongpass, wrongpass, noauth)}, database.ErrRefused, ""},
		"accepted":           {accept, []database.Result{in, lines("OK", "OK", "OK")}, none, ""},
		"no ACL file":        {accept, []database.Result{in, lines("OK", "OK", noFile)}, none, ""},
		"not saved":          {accept, []database.Result{in, lines("OK", "OK", notSaved)}, another, "cannot write its ACL file"},
		"may not save":       {accept, []database.Result{in, lines("OK", "OK", noPerm)}, another, "no permission"},
		"may not change":     {accept, []database.Result{in, lines("OK", noPerm, noPerm)}, another, "no permission"},
		"no writes":          {accept, []database.Result{in, lines("OK", "OOM command not allowed canary-x", "OK")}, another, "OOM"},
		"a replica":          {accept, []database.Result{in, lines("OK", "READONLY You can't write", "OK")}, another, "READONLY"},
		"refused meanwhile":  {accept, []database.Result{in, lines(wrongpass, noauth, noauth)}, database.ErrRefused, ""},
		"list while loading": {inUse, []database.Result{in, lines("OK", "LOADING Redis is loading")}, database.ErrNotReady, "loading"},
	} {
		t.Run(what, func(t *testing.T) {
			err := f.call(&told{answers: f.told})
			if errors.Is(f.want, another) {
				for _, known := range []error{nil, database.ErrRefused, database.ErrNotReady, database.ErrOpen} {
					if errors.Is(err, known) {
						t.Errorf("got %v", err)
					}
				}
			} else {
				mustBe(t, what, err, f.want)
			}
			if err != nil && !strings.Contains(err.Error(), f.says) {
				t.Errorf("%q does not say %q", err, f.says)
			}
		})
	}
}

// What could not be saved is taken back, unless it was valid before.
func TestRedisTakesBack(t *testing.T) {
	c := change(t, redisFirst, redisNext)
	back := escaped("!" + hash(redisNext))
	for what, before := range map[string]string{"new": wrongpass, "valid before": "OK"} {
		f := &told{answers: []database.Result{lines(noauth, wrongpass, "OK", before, "PONG"), lines("OK", "OK", notSaved)}}
		if err := (database.Redis{Container: f, Service: "redis"}).Accept(t.Context(), c); err == nil {
			t.Errorf("%s: no error", what)
		}
		if got, want := strings.Contains(f.scripts[len(f.scripts)-1], back), before != "OK"; got != want {
			t.Errorf("%s: taken back %v, want %v", what, got, want)
		}
	}
}
