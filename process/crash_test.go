package process_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"minibot/process"
)

func filter([]string) error {
	return process.ReportCrash(os.Stdin, os.NewFile(3, "gone"), os.Stderr)
}

type holder struct{ value string }

func (h holder) Error() string { return "the engine says " + h.value }

var noMap map[string]int

// endings are how a process that holds the canary may end.
var endings = map[string]func(secret string){
	"string": func(s string) {
		panic("the engine says " + s + "\ngoroutine 7 [running]:\nmain." + s + "()\n\t/" + s + ".go:1 +0x1\n")
	},
	"error":     func(s string) { panic(fmt.Errorf("login: %w", errors.New(s))) },
	"struct":    func(s string) { panic(&struct{ text string }{s}) },
	"own error": func(s string) { panic(holder{s}) },
	"nested": func(s string) {
		defer func() { panic("again " + s) }()
		panic(s)
	},
	"repanicked": func(s string) {
		defer func() { panic(recover()) }()
		panic(s)
	},
	"index":    func(s string) { list := []int{1}; list[len(s)]++ },
	"nil":      func(s string) { var h *holder; h.value = s },
	"nil map":  func(s string) { noMap[s]++ },
	"unlocked": func(string) { var mu sync.Mutex; mu.Unlock() },
	"quit": func(string) {
		if syscall.Kill(os.Getpid(), syscall.SIGQUIT) == nil {
			select {}
		}
	},
	"argument": func(s string) { passes(s, []byte(s), 42) },
}

//go:noinline
func passes(text string, bytes []byte, n int) {
	if n > 0 && len(text) == len(bytes) {
		panic(text)
	}
}

// crash ends as it is told, in a goroutine of its own, with the canary in memory; before that it writes to what
// it has for its own words and, as a library would, to os.Stderr.
func crash(args []string) error {
	if err := process.Harden(); err != nil {
		return err
	}
	d, err := process.Divert(filtering(args[1:]))
	if err != nil {
		fmt.Fprintln(d.Stderr, "warning: no filter")
	}
	fmt.Fprintln(d.Stderr, "own words")
	fmt.Fprintln(os.Stderr, "a library's words: "+canary)
	if args[0] == "normal" {
		return nil
	}
	if args[0] == "lost" {
		<-d.Lost
		fmt.Fprintln(os.Stderr, "into nowhere: "+canary)
		fmt.Fprintln(d.Stderr, "goes on")
		return nil
	}
	if args[0] == "collected" {
		return staysWatched(d.Stderr, d.Lost)
	}
	go func(secret string) { endings[args[0]](secret) }(strings.Clone(canary))
	select {}
}

// staysWatched collects the garbage, and fails when the filter takes that for the end of this process.
func staysWatched(stderr io.Writer, lost <-chan struct{}) error {
	for range 3 {
		runtime.GC()
	}
	select {
	case <-lost:
		return errors.New("the filter has ended")
	case <-time.After(3 * time.Second): // it waits one for what is still to come
		_, err := fmt.Fprintln(stderr, "watched")
		return err
	}
}

// filtering is the command of the filter.
func filtering(args []string) *exec.Cmd {
	if len(args) > 0 {
		return exec.Command(args[0])
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{helperVariable + "=filter"}
	return cmd
}

// ended runs the helper crash and returns all that it, and its filter, wrote.
func ended(t *testing.T, environment []string, args ...string) (text string, code int) {
	t.Helper()
	cmd := self(t, os.Args[0], "crash", args...)
	cmd.Env = append(cmd.Env, environment...)
	cmd.Dir = t.TempDir()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, 30*time.Second
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

var place = regexp.MustCompile(`(?m)^\S+crash_test\.go:\d+|^\t\S+/crash_test\.go:\d+`)

// TestNoCrashShowsAValue lets a process that holds a value end in every way, under every GOTRACEBACK.
func TestNoCrashShowsAValue(t *testing.T) {
	reasons := map[string]string{
		"index": "panic: runtime error: index out of range", "nil": "nil pointer dereference", "nil map": "assignment to entry in nil map",
		"unlocked": "fatal error: sync: unlock of unlocked mutex", "quit": "SIGQUIT: quit",
	}
	for name := range endings {
		t.Run(name, func(t *testing.T) {
			for _, level := range []string{"", "none", "single", "all", "system", "crash"} {
				if level != "" && name != "string" && name != "quit" {
					continue
				}
				text, code := ended(t, []string{"GOTRACEBACK=" + level}, name)
				if code == 0 {
					t.Errorf("%s: it ended well", level)
				}
				if strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) {
					t.Errorf("%s: a value shows: %s", level, text)
				}
				want := reasons[name]
				if want == "" {
					want = "[message withheld]"
				}
				if strings.Count(text, "minibotd crashed") != 1 || !strings.Contains(text, want) || !place.MatchString(text) || !strings.Contains(text, "goroutine ") {
					t.Errorf("%s: it does not show why and where: %s", level, text)
				}
				if !strings.Contains(text, "own words") || strings.Contains(text, "0xc000") {
					t.Errorf("%s: %s", level, text)
				}
			}
		})
	}
}

func TestAProcessThatEndsWellIsNoCrash(t *testing.T) {
	text, code := ended(t, nil, "normal")
	if code != 0 || strings.Contains(text, "crashed") || strings.Contains(text, canary) || !strings.Contains(text, "own words") ||
		!strings.Contains(text, "a library writes to stderr") {
		t.Errorf("%d: %s", code, text)
	}
}

func TestTheFilterStaysWhileItsProcessDoes(t *testing.T) {
	if text, code := ended(t, nil, "collected"); code != 0 || !strings.Contains(text, "watched") {
		t.Errorf("%d: %s", code, text)
	}
}

func TestWithoutItsFilterACrashShowsNothing(t *testing.T) {
	text, code := ended(t, nil, "string", "/no/such/filter")
	if code == 0 || strings.Contains(text, canary) || !strings.Contains(text, "warning: no filter\nown words") {
		t.Errorf("%d: %s", code, text)
	}
}

func TestAFilterThatEndsEndsNobodyElse(t *testing.T) {
	text, code := ended(t, nil, "lost", "/bin/true")
	if code != 0 || strings.Contains(text, canary) || !strings.Contains(text, "goes on") {
		t.Errorf("%d: %s", code, text)
	}
}

// TestOnlyWhatCanHoldNoValueGetsThroughTheFilter feeds it lines as a crash, or whoever imitates one, may write them.
func TestOnlyWhatCanHoldNoValueGetsThroughTheFilter(t *testing.T) {
	const before = "panic: CANARY [recovered]\n\tCANARY\n\tpanic: CANARY\n\ngoroutine 1 [running]:\n"
	for _, test := range []struct{ in, out string }{
		{"main.f({0xc000014250, 0x5}, 0x1, ...)\n\t/src/main.go:12 +0x1d\n", "main.f(...)\n\t/src/main.go:12 +0x1d\n"},
		{"main.(*T[...]).M.func1()\n\tminibot/x/y.go:9 fp=0xc00 sp=0xc00 pc=0x4f\n", "main.(*T[...]).M.func1(...)\n\tminibot/x/y.go:9\n"},
		{"gopkg.in/yaml%2ev3.Un(...)\n\t/a@v1.2.3/b.go:1\n", "gopkg.in/yaml%2ev3.Un(...)\n\t/a@v1.2.3/b.go:1\n"},
		{"created by golang.org/x/sync/errgroup.(*Group).Go in goroutine 1\n\t/a.go:79 +0x9d\n", "created by golang.org/x/sync/errgroup.(*Group).Go in goroutine 1\n\t/a.go:79 +0x9d\n"},
		{"main.f(\"CANARY\")\n\t/src/main.go:12 +0x1d\n", ""},
		{"main.CANARY(\n", ""},
		{"main.CANARY()\nmore\n\t/CANARY.go:1\n", ""},
		{"\t/CANARY.go:1 +0x1\n", ""},
		{"CANARY\n", ""}, {"goroutine CANARY [running]:\n", ""}, {"goroutine 5 [CANARY\"]:\n", ""},
		{"goroutine 5 gp=0xc000 m=0 mp=0xc00 [select, 5 minutes, locked to thread] {\"label\": \"CANARY\"}:\n", "\ngoroutine 5 [select, 5 minutes, locked to thread]:\n"},
		{"rax    0x4341 \n", ""}, {"r10    0xca000000ff\n", ""}, {"000000c000012000:  4341 4e41\n", ""},
		{"...additional frames elided...\n", "...additional frames elided...\n"},
		{"main.f()\n\t/src/main.go:12 +0x1d CANARY\n", ""},
		{strings.Repeat("CANARY", 10000) + "\nruntime stack:\n", "\nruntime stack:\n"},
	} {
		var out bytes.Buffer
		if err := process.ReportCrash(strings.NewReader(before+test.in), io.MultiReader(), &out); err != nil {
			t.Fatal(err)
		}
		record, text, _ := strings.Cut(out.String(), "\n")
		if text != "goroutine 1 [running]:\n"+test.out || !strings.Contains(record, `reason="panic: [message withheld]"`) {
			t.Errorf("%.60q: got %q after %q", test.in, text, record)
		}
		if strings.Contains(out.String(), "CANARY") {
			t.Errorf("%.60q: a value shows", test.in)
		}
	}
	for message, want := range map[string]string{
		"runtime error: index out of range [5] with length 3":                       "",
		"runtime error: CANARY":                                                     "[message withheld]",
		"runtime error: index out of range [5] with length 3 CANARY":                "[message withheld]",
		"interface conversion: interface {} is string, not *main.T":                 "",
		"(main.T) 0xc000012345":                                                     "[message withheld] of type main.T",
		"(CANARY) 0xc000012345":                                                     "[message withheld]",
		"main.T(\"CANARY\")":                                                        "[message withheld]",
		"runtime error: slice bounds out of range [:7] with capacity 3 [recovered]": "runtime error: slice bounds out of range [:7] with capacity 3",
	} {
		var out bytes.Buffer
		if err := process.ReportCrash(strings.NewReader("panic: "+message+"\n\ngoroutine 1 [running]:\n"), io.MultiReader(), &out); err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = message
		}
		if got := out.String(); !strings.Contains(got, `reason="panic: `+want+`"`) || strings.Contains(got, "CANARY") {
			t.Errorf("%s: got %s", message, got)
		}
	}
}
