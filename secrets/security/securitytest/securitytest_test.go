package securitytest_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"minibot/secrets/security/securitytest"
	"minibot/secrets/security/securitytest/standin"
)

// TestScripts shows the stand-in command by command, with the output that Apple's sources print.
func TestScripts(t *testing.T) {
	built, err := securitytest.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", env.WorkDir+string(os.PathListSeparator)+env.Getenv("PATH"))
			program := filepath.Join(env.WorkDir, "security")
			return errors.Join(os.Link(built, program), standin.FilesOf(program).Update(func(s *standin.State) {
				s.Clock = time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC)
				s.Keychains = []*standin.Keychain{{Path: "/login.keychain-db", Password: "pw"}}
			}))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "state": state},
	})
}

// exits STATUS COMMAND [ARGUMENT...] [<FILE] runs a command and checks its exit status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND [ARGUMENT...] [<FILE]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	var stdin string
	if file, ok := strings.CutPrefix(args[len(args)-1], "<"); ok {
		stdin, args = ts.ReadFile(file), args[:len(args)-1]
	}
	cmd := exec.Command(ts.MkAbs(args[0]), args[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err = cmd.Run()
	ts.Check(os.WriteFile(ts.MkAbs("out"), out.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("err"), errs.Bytes(), 0o600))
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
		ts.Fatalf("exit %v, want %d: %v: %s", cmd.ProcessState, want, err, errs.Bytes())
	}
}

// state WORD... changes the stand-in: locked, unlocked, foreign (the items belong to another program), refuse=STATUS,
// refusewrites=STATUS, hour=N, fault=NAME, long=N (a line of input in the file "long", with a value of N bytes),
// cut (input in the file "cut" whose last line has no end).
func state(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(standin.FilesOf(ts.MkAbs("security")).Update(func(s *standin.State) {
		for _, arg := range args {
			word, number, _ := strings.Cut(arg, "=")
			n, err := strconv.Atoi(number)
			if number != "" && word != "fault" {
				ts.Check(err)
			}
			switch word {
			case "locked", "unlocked":
				s.Keychains[0].Locked = word == "locked"
			case "foreign":
				for _, i := range s.Keychains[0].Items {
					i.Partition = "teamid:ABCDE12345"
				}
			case "refuse":
				s.Refuse = n
			case "refusewrites":
				s.RefuseWrites = n
			case "hour":
				s.Clock = s.Clock.Truncate(24 * time.Hour).Add(time.Duration(n) * time.Hour)
			case "fault":
				s.Fault = number
			case "cut":
				ts.Check(os.WriteFile(ts.MkAbs("cut"), []byte("list-keychains\nadd-generic-password -s S -a CUT -w x"), 0o600))
			case "long":
				line := "add-generic-password -s S -a A -w " + strings.Repeat("x", n) + "\n"
				ts.Check(os.WriteFile(ts.MkAbs("long"), []byte(line), 0o600))
			default:
				ts.Fatalf("state: unknown word %s", arg)
			}
		}
	}))
}

func TestStandin(t *testing.T) {
	built, err := securitytest.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	one, two := securitytest.New(t, built), securitytest.New(t, built)
	if _, _, exit := one.Run("add-generic-password", "-s", "S", "-a", "A", "-w", "canary"); exit != 0 {
		t.Fatalf("add exits %d", exit)
	}
	if len(one.Items()) != 1 || len(two.Items()) != 0 {
		t.Error("two stand-ins share their items")
	}
	if one.Reads() != 0 {
		t.Error("a write counts as a read")
	}
	for _, get := range []string{"-g", "-w"} {
		if _, _, exit := one.Run("find-generic-password", "-s", "S", "-a", "A", get); exit != 0 {
			t.Errorf("find %s exits %d", get, exit)
		}
	}
	if one.Run("find-generic-password", "-s", "S"); one.Reads() != 2 {
		t.Errorf("%d reads, want 2", one.Reads())
	}
	record := one.Record()
	if len(record) != 8 || !slices.Contains(record[0].Argv, "canary") || record[1].Command[0] != "add-generic-password" {
		t.Errorf("record: %v", record)
	}
	if !one.Idle() {
		t.Error("a process is left")
	}
}
