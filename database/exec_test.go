package database_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"minibot/database"
	"minibot/database/enginetest"
	"minibot/secrets"
)

// vault is a service whose passwords are the lines of a file. Only what the shell does itself gets a value as an argument.
const vault = `
IFS= read -r request
field() { printf '%s\n' "$request" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
step=$(field step) user=$(field user) current=$(field current) next=$(field next)
printf '%s\n' "$request" >>/tmp/requests
echo "output with $next on both" && echo "and $current" >&2
file=/tmp/vault.$user
touch "$file"
without() { while IFS= read -r line; do [ "$line" = "$1" ] || printf '%s\n' "$line"; done <"$file" >"$file.new"; mv "$file.new" "$file"; }
case $step in
  accept) without "$next"; echo "$next" >>"$file" ;;
  prove) while IFS= read -r line; do [ "$line" != "$next" ] || exit 0; done <"$file"; exit 1 ;;
  retire) without "$current" ;;
  revert) without "$next"; without "$current"; echo "$current" >>"$file" ;;
  assert|rehearse) echo "$next" >"$file" ;;
  discard) rm -f "$file" ;;
  *) exit 2 ;;
esac`

// startVault runs the vault with current as the one password of the user app.
func startVault(t *testing.T, current string) database.Command {
	t.Helper()
	img := enginetest.Image("MINIBOT_REDIS_IMAGE", "minibot/redis:local")
	name := enginetest.Start(t, "--tmpfs", "/data", "--entrypoint", "sh", img, "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done")
	x := database.Command{Container: enginetest.Engine{}, Service: name, Name: "APP_PASSWORD", User: "app", Command: []string{"sh", "-c", vault}, Overlap: true}
	if err := x.Assert(t.Context(), as(value(t, current))); err != nil {
		t.Fatal(err)
	}
	return x
}

// ending is x with a command that ends every step with an exit code.
func ending(x database.Command, code string) database.Command {
	x.Command = []string{"sh", "-c", "read -r request; echo \"$request\"; exit " + code}
	return x
}

// lets checks which of two values logs in.
func lets(t *testing.T, x database.Command, old, next bool) {
	t.Helper()
	for plain, in := range map[string]bool{"canary-EXEC-old": old, "canary-EXEC-new": next} {
		var want error
		if !in {
			want = database.ErrRefused
		}
		mustBe(t, plain, x.Prove(t.Context(), as(value(t, plain))), want)
	}
}

func TestExecChanges(t *testing.T) {
	t.Parallel()
	x := startVault(t, "canary-EXEC-old")
	seen := watch(t, x.Service)
	c := database.Change{Current: as(value(t, "canary-EXEC-old")), Next: as(value(t, "canary-EXEC-new"))}
	lets(t, x, true, false)
	for _, step := range []struct {
		name      string
		do        func() error
		old, next bool
	}{
		{"accept", func() error { return x.Accept(t.Context(), c) }, true, true},
		{"revert", func() error { return x.Revert(t.Context(), c) }, true, false},
		{"accept again", func() error { return x.Accept(t.Context(), c) }, true, true},
		{"retire", func() error { return x.Retire(t.Context(), c) }, false, true},
		{"accept a third time", func() error { return x.Accept(t.Context(), c) }, false, true},
		{"revert by accepting", func() error {
			plain := x
			plain.Command = []string{"sh", "-c", strings.Replace(vault, "revert)", "none)", 1)}
			return plain.Revert(t.Context(), c)
		}, true, true},
		{"assert", func() error { return x.Assert(t.Context(), c.Current) }, true, false},
	} {
		for range 2 { // each may be repeated
			mustBe(t, step.name, step.do(), nil)
		}
		lets(t, x, step.old, step.next)
	}
	processes := seen()
	if !strings.Contains(processes, "/tmp/requests") {
		t.Error("the watch saw no command, so it proves nothing")
	}
	absent(t, "a process", processes, "canary-EXEC")
	absent(t, "the log", enginetest.Docker(t, "logs", x.Service), "canary-EXEC")
}

func TestExecRequests(t *testing.T) {
	x := startVault(t, "canary-EXEC-old")
	awkward := "canary-EXEC-\"\\\n\t<&>é\u2028"
	mustBe(t, "accept", x.Accept(t.Context(), database.Change{Current: as(value(t, "canary-EXEC-old")), Next: as(value(t, awkward))}), nil)
	mustBe(t, "first", x.Accept(t.Context(), database.Change{Next: database.Credential{User: "other", Password: value(t, "canary-EXEC-<new>")}}), nil)
	lines := strings.Split(enginetest.Docker(t, "exec", x.Service, "cat", "/tmp/requests"), "\n")
	want := []map[string]any{
		{"version": 1.0, "step": "assert", "name": "APP_PASSWORD", "user": "app", "next": "canary-EXEC-old"},
		{"version": 1.0, "step": "accept", "name": "APP_PASSWORD", "user": "app", "current": "canary-EXEC-old", "next": awkward},
		{"version": 1.0, "step": "accept", "name": "APP_PASSWORD", "user": "other", "next": "canary-EXEC-<new>"},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d requests: %q", len(lines), lines)
	}
	for i, line := range lines {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil || fmt.Sprint(got) != fmt.Sprint(want[i]) {
			t.Errorf("got %v, %v, want %v", got, err, want[i])
		}
	}
	if !strings.Contains(lines[2], `"next":"canary-EXEC-<new>"`) {
		t.Errorf("escaped more than JSON asks for: %s", lines[2])
	}
	mustBe(t, "not UTF-8", x.Accept(t.Context(), database.Change{Next: as(value(t, "canary-EXEC-\xff"))}), database.ErrUnfit)
	mustBe(t, "not UTF-8", database.Check(database.DriverExec, value(t, "canary-EXEC-\xff")), database.ErrUnfit)
	mustBe(t, "empty", database.Check(database.DriverExec, secrets.Value{}), database.ErrUnfit)
	mustBe(t, "awkward", database.Check(database.DriverExec, value(t, awkward)), nil)
}

func TestExecExitCodes(t *testing.T) {
	t.Parallel()
	x := startVault(t, "canary-EXEC-old")
	x.Overlap = false
	c := database.Change{Current: as(value(t, "canary-EXEC-old")), Next: as(value(t, "canary-EXEC-new"))}
	steps := map[string]func(database.Command) error{
		"accept": func(x database.Command) error { return x.Accept(t.Context(), c) },
		"prove":  func(x database.Command) error { return x.Prove(t.Context(), c.Current) },
		"retire": func(x database.Command) error { return x.Retire(t.Context(), c) },
		"revert": func(x database.Command) error { return x.Revert(t.Context(), c) },
		"assert": func(x database.Command) error { return x.Assert(t.Context(), c.Current) },
	}
	for step, do := range steps {
		for _, code := range []string{"1", "2", "75", "94", "127"} { // 94 means something to other drivers
			err := do(ending(x, code))
			switch key := step + " " + code; {
			case code == "75":
				mustBe(t, key, err, database.ErrNotReady)
			case key == "prove 1":
				mustBe(t, key, err, database.ErrRefused)
			case key == "assert 2":
				mustBe(t, key, err, database.ErrNoEntrance)
			case key == "retire 2":
				mustBe(t, key, err, nil)
			default:
				at := step
				if key == "revert 2" { // it is told to accept the former value instead
					at = "accept"
				}
				if err == nil || database.Transient(err) || !strings.HasSuffix(err.Error(), at+": the command of its rotation ended with exit code "+code) {
					t.Errorf("%s: %v", key, err)
				}
			}
		}
	}
	mustBe(t, "everything is accepted", ending(x, "0").Prove(t.Context(), c.Current), database.ErrOpen)
	x.Overlap = true // two that are valid at once have to end
	if err := ending(x, "2").Retire(t.Context(), c); err == nil || !strings.Contains(err.Error(), "exit code 2") {
		t.Errorf("a value that never ends: %v", err)
	}
	_, _, _, err := ending(x, "2").Rehearsal(t.Context())
	mustBe(t, "nothing to rehearse with", err, database.ErrNoRehearsal)
	enginetest.Docker(t, "stop", "-t", "1", x.Service)
	for step, do := range steps {
		mustBe(t, step+" of a stopped service", do(x), database.ErrNotReady)
	}
}

func TestExecRehearsal(t *testing.T) {
	t.Parallel()
	x := startVault(t, "canary-EXEC-old")
	db, first, end, err := x.Rehearsal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first.User == "app" || first.User == "" {
		t.Errorf("it rehearses with the user %q", first.User)
	}
	c := database.Change{Current: first, Next: database.Credential{User: db.Successor(first.User), Password: value(t, "canary-EXEC-new")}}
	mustBe(t, "the first", db.Prove(t.Context(), first), nil)
	mustBe(t, "accept", db.Accept(t.Context(), c), nil)
	mustBe(t, "retire", db.Retire(t.Context(), c), nil)
	mustBe(t, "the next", db.Prove(t.Context(), c.Next), nil)
	mustBe(t, "the first", db.Prove(t.Context(), first), database.ErrRefused)
	lets(t, x, true, false)
	for range 2 {
		mustBe(t, "end", end(t.Context()), nil)
	}
	if left := enginetest.Docker(t, "exec", x.Service, "sh", "-c", "ls /tmp/vault.*"); left != "/tmp/vault.app" {
		t.Errorf("left behind: %s", left)
	}
}
