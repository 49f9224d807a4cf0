package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"minibot/console"
	"minibot/control"
	"minibot/secrets"
)

func TestLines(t *testing.T) {
	r := bufio.NewReader(strings.NewReader("one\n\ntwo\r\n" + strings.Repeat("x", maxHeldLine+10000) + "\nend"))
	for _, want := range []string{"one\n", "\n", "two\r\n", strings.Repeat("x", maxHeldLine)} {
		if got, err := readLine(r); got != want || err != nil {
			t.Fatalf("%.40q of %d bytes, %v", got, len(got), err)
		}
	}
	if got, err := readLine(r); got != "end" || !errors.Is(err, io.EOF) {
		t.Errorf("%q, %v", got, err)
	}
	for text, want := range map[string]string{"abc": "abc", "abcdef": "abcd [cut: the line is too long]", "abc\u00fcx": "abc [cut: the line is too long]", "\xff\xff\xff\xff\xff\xff": "\xff\xff\xff\xff [cut: the line is too long]"} {
		if got := shorten(text, 4); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// endless is a log without a line's end, of some size.
type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := copy(p, bytes.Repeat([]byte("canary \x1b[31m\xff\x00"), 1+len(p)/15))
	e.left -= int64(n)
	return n, nil
}

// A container that writes without end, and without the end of a line, does not grow the daemon.
func TestAttackFloodOfLogsHoldsLittleMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	line, err := readLine(bufio.NewReader(&endless{left: 200 << 20}))
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.EOF) || len(line) != maxHeldLine {
		t.Errorf("%d bytes, %v", len(line), err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 && before.Sys+64<<20 < after.Sys {
		t.Errorf("%d MiB were allocated, the process grew by %d MiB", grown>>20, (after.Sys-before.Sys)>>20)
	}
}

// A value that lies across the place where a long line is cut is not shown in part.
func TestAttackValueAcrossTheCutOfALine(t *testing.T) {
	value, err := secrets.NewValue([]byte("canary-" + strings.Repeat("0123456789", 100)))
	if err != nil {
		t.Fatal(err)
	}
	redactor := secrets.NewRedactor(value)
	for _, before := range []int{maxLogLine - 1000, maxLogLine - 8, maxLogLine - 1, maxHeldLine - 500} {
		line, err := readLine(bufio.NewReader(strings.NewReader(strings.Repeat("x", before) + string(value.Reveal()) + strings.Repeat("y", maxHeldLine) + "\n")))
		if err != nil {
			t.Fatal(err)
		}
		if shown := shorten(redactor.String(line), maxLogLine); strings.Contains(shown, "canary") || len(shown) > maxLogLine+100 || !utf8.ValidString(shown) {
			t.Errorf("after %d bytes: %d bytes end with %q", before, len(shown), shown[len(shown)-60:])
		}
	}
}

const hostileText = "\x1b[2J\x1b]0;title\x07\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\ \u202ereversed\u202c \u009b31m \r\x08\x7f\x00 \xff\xfe end"

// Whatever a service, its container or the engine put into status, events and logs reaches a terminal as printable
// characters only, also through a pipe.
func TestAttackEscapesInStatusEventsAndLogs(t *testing.T) {
	serve(t, &fakeDaemon{
		status: control.Status{
			Phase: control.PhaseDegraded, Reason: hostileText, Hint: hostileText, Version: hostileText, Project: hostileText,
			Engine: control.Engine{Version: hostileText, API: hostileText, Host: hostileText}, Store: control.Store{Kind: hostileText, State: hostileText},
			Services: []control.Service{{
				Name: hostileText, Container: hostileText, State: hostileText, Health: hostileText, Reason: hostileText,
				Secrets: []string{hostileText}, LastLog: []string{hostileText, strings.Repeat(hostileText, 20)},
			}},
			Secrets: []control.Secret{{Name: hostileText, State: "pending", UsedBy: []string{hostileText}, Failed: hostileText, Age: control.AgeDue}},
		},
		events: []control.Event{{Seq: 1, Time: sampleTime, Kind: hostileText, Service: hostileText, Secret: hostileText, Message: hostileText}},
		log:    hostileText + "\n\t" + strings.Repeat("\x1b[31m", 100000) + "\n",
	})
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"events"}, {"events", "--json"}, {"logs"}} {
		_, out, errs := command(t.Context(), args...)
		if out == "" || !strings.Contains(out, "reversed") {
			t.Errorf("%v shows nothing: %s", args, errs)
		}
		for _, text := range []string{out, errs} {
			for line := range strings.Lines(text) {
				if line = strings.TrimLeft(strings.TrimSuffix(line, "\n"), "\t"); line != console.Escape(line) {
					t.Errorf("%v sends %.200q", args, line)
				}
			}
		}
	}
	if _, out, _ := command(t.Context(), "logs", "--raw"); !strings.Contains(out, "\x1b[2J") {
		t.Errorf("logs --raw: %.100q", out)
	}
}
