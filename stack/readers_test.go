package stack

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"minibot/secrets"
)

// How many files are replaced at once, and how often they are. In `make soak` it is ten times as often.
const replacedFiles = 200

func replacements(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("MINIBOT_REPLACEMENTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 10_000
}

// reader reads the files FROM to TO over and over, and prints each that is not whole: 80 times one round's word of five
// letters. In the end it says how many it has read and how many rounds it has seen of the last one, and it names each
// round that it saw after a newer one.
const reader = `BEGIN {
  while ((getline line <"/tmp/stop") < 0) {
    for (i = FROM; i <= TO; i++) {
      file = sprintf("/run/secrets/S%03d", i); line = ""
      got = (getline line <file); close(file)
      word = substr(line, 1, 5); files++
      if (got <= 0) print "absent or empty: " file
      else if (length(line) != 400 || gsub(word, "", line) != 80) print "mixed or torn: " file " " word
    }
    if (word != last) { if (word < last) print "older: " word " after " last; rounds++; last = word }
  }
  print "read " files " files, saw " rounds " rounds" >"/dev/stderr"
}`

var readerSum = regexp.MustCompile(`read (\d+) files, saw (\d+) rounds`)

func manyFiles() string {
	var services, all strings.Builder
	for i := range replacedFiles {
		fmt.Fprintf(&services, "S%03d, ", i)
		fmt.Fprintf(&all, "  S%03d: { environment: S%03d }\n", i, i)
	}
	return "services:\n  a:\n    image: IMAGE\n    entrypoint: SLEEP\n    network_mode: none\n    user: \"1000\"\n    x-minibot: { on_change: none }\n    secrets: [" +
		services.String() + "]\nsecrets:\n" + all.String()
}

func manyValues(t *testing.T, round int) map[secrets.Name]secrets.Value {
	t.Helper()
	value, err := secrets.NewValue([]byte(strings.Repeat(fmt.Sprintf("r%04d", round), 80)))
	if err != nil {
		t.Fatal(err)
	}
	values := map[secrets.Name]secrets.Value{}
	for i := range replacedFiles {
		values[secrets.Name(fmt.Sprintf("S%03d", i))] = value
	}
	return values
}

// TestReadersNeverSeeAMissingOrMixedFile replaces 200 files at a time, by whole deliveries, while one reader goes through
// all of them and one looks at the last alone.
func TestReadersNeverSeeAMissingOrMixedFile(t *testing.T) {
	r := newRig(t, manyFiles())
	r.create()
	feed := func(round int) {
		t.Helper()
		_, err := r.engine.Feed(t.Context(), r.project, manyValues(t, round))
		r.must(err)
	}
	feed(0)
	r.start("a")
	type outcome struct {
		result ExecResult
		err    error
	}
	done := make(chan outcome, 2)
	id := r.container("a").ID
	for _, from := range []string{"0", fmt.Sprint(replacedFiles - 1)} {
		go func() {
			result, err := r.engine.Exec(t.Context(), id, Exec{Cmd: []string{"awk", "-v", "FROM=" + from, "-v", fmt.Sprint("TO=", replacedFiles-1), reader}})
			done <- outcome{result, err}
		}()
	}
	rounds, begin := replacements(t)/replacedFiles, time.Now()
	for i := range rounds {
		feed(i + 1)
	}
	took := time.Since(begin)
	r.sh("a", "touch /tmp/stop")
	for range 2 {
		o := <-done
		r.must(o.err)
		if len(o.result.Stdout) > 0 || o.result.ExitCode != 0 {
			t.Errorf("exit %d: %.500s", o.result.ExitCode, o.result.Stdout)
		}
		m := readerSum.FindSubmatch(o.result.Stderr)
		if m == nil {
			t.Fatalf("a reader says %q", o.result.Stderr)
		}
		files, err := strconv.Atoi(string(m[1]))
		r.must(err)
		seen, err := strconv.Atoi(string(m[2]))
		r.must(err)
		t.Logf("%d replacements in %v (%v a delivery): %s", rounds*replacedFiles, took, took/time.Duration(rounds), m[0])
		if seen < rounds/4 || files < rounds*replacedFiles {
			t.Errorf("a reader has not looked enough")
		}
	}
}
