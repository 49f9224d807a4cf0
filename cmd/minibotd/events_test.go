package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"minibot/console"
	"minibot/control"
)

// sampleLog is a log of three events at path: two hours, one hour and a moment old.
func sampleLog(t *testing.T, path string) *control.EventLog {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := control.OpenEventLog(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range []control.Event{
		{Kind: "phase", Message: "healthy"}, {Kind: "heal", Service: "redis", Message: "again"}, {Kind: "curious", Service: "gone", Message: "new"},
	} {
		e.Time = time.Now().Add(time.Duration(i-2)*time.Hour - time.Minute)
		if err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// The daemon filters, and without it the command reads the files, to the same end.
func TestEventsAreAskedFor(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			home := t.TempDir()
			log := sampleLog(t, filepath.Join(home, "state", "events.jsonl"))
			if running {
				serve(t, &fakeDaemon{kept: log})
			} else {
				t.Setenv("MINIBOT_HOME", home)
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
			}
			kinds := strings.Join(eventKinds, ", ")
			for _, test := range []struct {
				args string
				code int
				want string // the messages
				errs string
			}{
				{"", 0, "healthy again new", ""},
				{"--since 90m", 0, "again new", ""},
				{"--since 1w --until 90m", 0, "healthy", ""},
				{"--since=" + time.Now().Add(-90*time.Minute).Format("2006-01-02T15:04"), 0, "again new", ""},
				{"--service redis", 0, "again", ""},
				{"--service gone --kind curious", 0, "new", ""},
				{"--service redis --kind phase", 0, "", "no event matches\n"},
				{"--kind exit", 0, "", "no event matches\n"},
				{"--service nobody", 3, "", "error: events of service nobody: "},
				{"--kind nothing", 3, "", strings.Replace(kinds, "create, ", "create, curious, ", 1) + "\n"},
				{"--since yesteryear", 2, "", `error: --since: "yesteryear" is no time`},
				{"--since 1h --until 2h", 2, "", "--since is not before --until"},
				{"-f --until 2h", 2, "", "--until does not go with --follow"},
				{"events", 2, "", "takes no argument"},
			} {
				code, out, errs := command(t.Context(), append([]string{"events", "--json"}, strings.Fields(test.args)...)...)
				var got []string
				for _, m := range regexp.MustCompile(`"message":"(\w+)"`).FindAllStringSubmatch(out, -1) {
					got = append(got, m[1])
				}
				dead := "minibotd does not answer; these are the events that it kept\n"
				if code != test.code || strings.Join(got, " ") != test.want || !strings.Contains(errs, test.errs) || test.errs == "" && strings.TrimPrefix(errs, dead) != "" {
					t.Errorf("%s: code %d, %q, stderr %q; want %d, %q, %q", test.args, code, got, errs, test.code, test.want, test.errs)
				}
				if code == 0 && strings.Contains(errs, dead) == running {
					t.Errorf("%s: stderr %q", test.args, errs)
				}
			}
			if code, _, errs := command(t.Context(), "events", "--service", "nobody"); code != 3 || !strings.Contains(errs, "gone, redis") {
				t.Errorf("the known services are not named: %s", errs)
			}
			if code, out, _ := command(t.Context(), "__complete", "events", "--kind", "he"); code != 0 || out != "heal\nhealthy\n:4\n" {
				t.Errorf("completion: code %d, %q", code, out)
			}
		})
	}
}

func TestEventsWithoutADaemonAndAnyFile(t *testing.T) {
	t.Setenv("MINIBOT_HOME", t.TempDir())
	for _, args := range [][]string{{"events"}, {"events", "-f"}, {"events", "--kind", "nothing"}} {
		if code, out, errs := command(t.Context(), args...); code != 6 || out != "" || !strings.Contains(errs, "minibotd is not running") {
			t.Errorf("%v: code %d, %q, %q", args, code, out, errs)
		}
	}
}

func TestFollowedEventsAreFiltered(t *testing.T) {
	log := sampleLog(t, filepath.Join(t.TempDir(), "events.jsonl"))
	serve(t, &fakeDaemon{kept: log})
	out := &waiting{seen: make(chan struct{}, 10)}
	var errs bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- run(t.Context(), []string{"events", "-f", "--service", "redis"}, console.New(strings.NewReader(""), out, &errs))
	}()
	<-out.seen
	for _, service := range []string{"gone", "redis"} {
		if err := log.Append(control.Event{Kind: "exit", Service: service, Message: "of " + service}); err != nil {
			t.Fatal(err)
		}
	}
	<-out.seen
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	code := <-done
	if text := out.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "of redis") {
		t.Errorf("code %d, %q, %q", code, text, errs.String())
	}
}

// waiting tells of each write.
type waiting struct {
	bytes.Buffer
	seen chan struct{}
}

func (w *waiting) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	w.seen <- struct{}{}
	return n, err
}

// Each kind that the sources name is known to completion, and to whoever asks for one that is not.
func TestEveryKindOfEventIsKnown(t *testing.T) {
	found := 0
	for pattern, expression := range map[string]string{"../../supervisor/event.go": `EventKind += "([\w-]+)"`, "*.go": `control\.Event\{Kind: "([\w-]+)"`, "../../control/*.go": `\bEvent\{Kind: "([\w-]+)"`} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.DeleteFunc(files, func(n string) bool { return strings.HasSuffix(n, "_test.go") }) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(string(text), -1) {
				if found++; !slices.Contains(eventKinds, m[1]) {
					t.Errorf("%s: %s is not among eventKinds", name, m[1])
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d kinds were found", found)
	}
}
