package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"minibot/audit"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
	"minibot/stack"
)

func sampleAudit(findings ...control.Finding) []control.AuditLine {
	lines := []control.AuditLine{{Progress: "containers"}}
	summary := control.AuditSummary{Searched: 3 << 20, Places: 42, Incomplete: []string{"log of container y: \x1b[2J"}}
	for _, f := range findings {
		lines = append(lines, control.AuditLine{Finding: &f})
		switch f.Severity {
		case control.SeverityHigh:
			summary.High++
		case control.SeverityMedium:
			summary.Medium++
		default:
			summary.Notes++
		}
	}
	return append(lines, control.AuditLine{Summary: &summary})
}

var (
	sampleNote = control.Finding{Code: "port-exposed", Severity: control.SeverityNote, Place: "container y, port 0.0.0.0:80 -> 80/tcp", Message: "the port can be reached", Hint: "docker inspect y"}
	sampleLeak = control.Finding{Code: "leaked", Severity: control.SeverityHigh, Secret: "A", Slot: "current", Form: "plain", Place: "container x\x1b[2J, Config.Env[2]", Service: "x", Message: "stands here", Hint: "mb-secrets rotate A"}
	sampleLong = control.Finding{Code: "leaked", Severity: control.SeverityHigh, Secret: "LONGER", Slot: "previous", Form: "base64", Place: "/x", Message: "stands there", Hint: "mb-secrets rotate A"}
	sampleDoor = control.Finding{Code: "privileged", Severity: control.SeverityMedium, Place: "container x, HostConfig.Privileged", Service: "x", Message: "is privileged"}
)

func TestAuditShowsTheWorstFirst(t *testing.T) {
	for _, test := range []struct {
		name  string
		lines []control.AuditLine
		code  int
		out   string
	}{
		{"all kinds", sampleAudit(sampleNote, sampleLeak, sampleDoor, sampleLong), 1,
			"high (2)\n" +
				"  container x\\x1b[2J, Config.Env[2]  A                          stands here\n" +
				"  /x                                 LONGER (previous, base64)  stands there\n" +
				"    hint: mb-secrets rotate A\n" +
				"medium (1)\n" +
				"  container x, HostConfig.Privileged  is privileged\n" +
				"note (1)\n" +
				"  container y, port 0.0.0.0:80 -> 80/tcp  the port can be reached\n" +
				"    hint: docker inspect y\n" +
				"not searched: log of container y: \\x1b[2J\n" +
				"2 high, 1 medium, 1 to note; 3.0 MiB in 42 places searched\n"},
		{"an open door", sampleAudit(sampleDoor), 1, "medium (1)\n  container x, HostConfig.Privileged  is privileged\n" +
			"not searched: log of container y: \\x1b[2J\n0 high, 1 medium; 3.0 MiB in 42 places searched\n"},
		{"notes only", sampleAudit(sampleNote), 0, "note (1)\n  container y, port 0.0.0.0:80 -> 80/tcp  the port can be reached\n    hint: docker inspect y\n" +
			"not searched: log of container y: \\x1b[2J\nnothing leaked, no door stands open, 1 to note; 3.0 MiB in 42 places searched\n"},
		{"nothing", sampleAudit(), 0, "not searched: log of container y: \\x1b[2J\nnothing leaked, no door stands open; 3.0 MiB in 42 places searched\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			serve(t, &fakeDaemon{audit: test.lines})
			if code, out, errs := command(t.Context(), "audit"); code != test.code || out != test.out || errs != "" {
				t.Errorf("code %d, want %d; stderr %q\ngot\n%s\nwant\n%s", code, test.code, errs, out, test.out)
			}
		})
	}
}

func TestAuditAsJSON(t *testing.T) {
	serve(t, &fakeDaemon{audit: sampleAudit(sampleNote, sampleLeak)})
	code, out, errs := command(t.Context(), "audit", "--json")
	var got auditReport
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 || errs != "" {
		t.Fatalf("code %d, %q, %v: %s", code, errs, err, out)
	}
	want := auditReport{Findings: []control.Finding{sampleLeak, sampleNote}, Summary: *sampleAudit(sampleNote, sampleLeak)[3].Summary}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	serve(t, &fakeDaemon{audit: []control.AuditLine{{Summary: &control.AuditSummary{}}}})
	if code, out, _ = command(t.Context(), "audit", "--json"); code != 0 || !strings.Contains(out, `"findings": []`) || !strings.Contains(out, `"incomplete": []`) {
		t.Errorf("code %d: %s", code, out)
	}
}

// An audit that failed must not look like one that found nothing.
func TestAuditThatFailsSaysWhy(t *testing.T) {
	locked := control.AsError(secrets.ErrLocked)
	busy := &control.Error{Code: control.CodeBusy, Message: "another audit is under way", HintMsg: "wait"}
	for name, test := range map[string]struct {
		lines []control.AuditLine
		code  int
		errs  string
	}{
		"locked":     {[]control.AuditLine{{Error: locked}}, 7, "locked"},
		"busy":       {[]control.AuditLine{{Error: busy}}, 1, "error: another audit is under way\n  hint: wait\n"},
		"later":      {[]control.AuditLine{{Finding: &sampleNote}, {Error: locked}}, 7, "locked"},
		"broken off": {[]control.AuditLine{{Finding: &sampleNote}}, 6, "went away"},
	} {
		serve(t, &fakeDaemon{audit: test.lines})
		if code, out, errs := command(t.Context(), "audit"); code != test.code || out != "" || !strings.Contains(errs, test.errs) {
			t.Errorf("%s: code %d, want %d; %q %q", name, code, test.code, out, errs)
		}
	}
}

func TestAuditWithoutADaemonAndAHome(t *testing.T) {
	home := filepath.Join(t.TempDir(), "none")
	t.Setenv("MINIBOT_HOME", home)
	code, _, errs := command(t.Context(), "audit")
	if code != 7 || !strings.Contains(errs, "hint: mb-secrets init") {
		t.Errorf("code %d: %s", code, errs)
	}
	if _, err := os.Stat(home); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the audit made a home")
	}
}

// reread is a store whose items fail as a test wants.
type reread struct {
	secrets.Store
	fail map[secrets.Slot]error
}

func (r reread) read(ctx context.Context, e secrets.Entry) (secrets.Value, error) {
	if err := r.fail[e.Slot]; err != nil {
		return secrets.Value{}, err
	}
	item, err := r.Get(ctx, e.Name, e.Slot)
	return item.Value, err
}

func TestAuditLooksForEverySlotAndSaysWhatItMayNotRead(t *testing.T) {
	store := secrets.NewMemory()
	for slot, plain := range map[secrets.Slot]string{secrets.Current: "canary-now", secrets.Pending: "canary-soon", secrets.Previous: "canary-before"} {
		value, err := secrets.NewValue([]byte(plain))
		if err == nil {
			err = store.Put(t.Context(), "A", slot, value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	items, unread, err := readAll(t.Context(), store, reread{Store: store}.read)
	if err != nil || len(items) != len(secrets.Slots) || len(unread) > 0 {
		t.Errorf("%d items, %v, %v", len(items), unread, err)
	}
	items, unread, err = readAll(t.Context(), store, reread{store, map[secrets.Slot]error{secrets.Previous: secrets.ErrDenied, secrets.Pending: secrets.ErrNotFound}}.read)
	if err != nil || len(items) != 1 || len(unread) != 1 || !strings.HasPrefix(unread[0], "A (previous): not searched for") {
		t.Errorf("%d items, %v, %v", len(items), unread, err)
	}
	if _, _, err = readAll(t.Context(), store, reread{store, map[secrets.Slot]error{secrets.Current: secrets.ErrLocked}}.read); !errors.Is(err, secrets.ErrLocked) {
		t.Errorf("locked: %v", err)
	}
}

func TestTwoAuditsAreNotRunAtOnce(t *testing.T) {
	d := testDaemon(t, func(context.Context, string) (secrets.Store, error) { return secrets.NewMemory(), nil })
	d.auditing.Lock()
	defer d.auditing.Unlock()
	err := d.Audit(t.Context(), func(control.AuditLine) error { t.Error("it began"); return nil })
	if !errors.Is(err, control.ErrBusy) || !strings.Contains(err.Error(), "another audit") || hint.Of(err) == "" {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

// The names of two roles that take turns stand in the compose file: to find them there is no leak.
func TestAuditDoesNotLookForTheNamesOfUsers(t *testing.T) {
	items := []audit.Secret{{Name: "P"}, {Name: "P.user"}}
	project := &stack.Project{Requirements: []secrets.Requirement{{Name: "P", Rotate: secrets.Rotation{UserName: "P.user"}}}}
	if left := withoutUserNames(items, project); len(left) != 1 || left[0].Name != "P" || len(items) != 2 {
		t.Errorf("%+v", left)
	}
	if left := withoutUserNames(items, nil); len(left) != 2 {
		t.Errorf("without a project: %+v", left)
	}
}
