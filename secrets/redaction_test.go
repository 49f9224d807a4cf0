package secrets_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"minibot/secrets"
)

func TestRedactionKnowsWhatItOnceLearnt(t *testing.T) {
	var r secrets.Redaction
	if got := r.Text("nothing known"); got != "nothing known" {
		t.Errorf("got %q", got)
	}
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() { r.Learn(value(t, canary), secrets.Value{}, value(t, fmt.Sprintf("canary-NUMBER-%d", i))) })
		group.Go(func() { _ = r.Text(canary) })
	}
	group.Wait()
	for _, text := range []string{canary, "canary-NUMBER-0", "canary-NUMBER-3", base64.StdEncoding.EncodeToString([]byte(canary))} {
		if got := r.Text("x " + text); got != "x [redacted]" {
			t.Errorf("got %q", got)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v %s %x", &r, struct{ R *secrets.Redaction }{&r}, &r, &r, &r); strings.Contains(got, "canary") || strings.Contains(got, "63616e") {
		t.Errorf("it shows what it knows: %s", got)
	}
}

func TestRedactionOfErrorsKeepsWhatTheyAre(t *testing.T) {
	var r secrets.Redaction
	r.Learn(value(t, canary))
	err := r.Error(fmt.Errorf("the engine says %s: %w", canary, secrets.ErrLocked))
	if !errors.Is(err, secrets.ErrLocked) || strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), "[redacted]") {
		t.Errorf("got %v", err)
	}
	if r.Error(nil) != nil || !errors.Is(r.Error(secrets.ErrDenied), secrets.ErrDenied) {
		t.Error("an error with nothing known in it changed")
	}
}

func TestRedactionWriterUsesWhatIsKnownWhenItWrites(t *testing.T) {
	var r secrets.Redaction
	var out bytes.Buffer
	w := r.Writer(&out)
	write := func(text string) {
		t.Helper()
		given := []byte(text)
		if n, err := w.Write(given); n != len(given) || err != nil || string(given) != text {
			t.Errorf("%d, %v; it changed what it was given: %q", n, err, given)
		}
	}
	write("a canary-LATER\n")
	r.Learn(value(t, "canary-LATER"))
	write("b canary-LATER\n")
	write("c canary-LA")
	write("TER\nd ")
	write(hex.EncodeToString([]byte("canary-LATER"))[:5])
	write(hex.EncodeToString([]byte("canary-LATER"))[5:])
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "a canary-LATER\nb [redacted]\nc [redacted]\nd [redacted]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A value of several lines begins as a line may: nobody who follows a log must wait for what comes after it.
func TestAWholeLineIsNeverHeldBack(t *testing.T) {
	var r secrets.Redaction
	r.Learn(value(t, "ab\ncanary-line-two\ncanary-line-three\n"), value(t, "started\nlater"))
	var out bytes.Buffer
	w := r.Writer(&out)
	for _, step := range []struct{ in, out string }{
		{"started\n", "started\n"}, {"ab\n", "ab\n"}, {"canary-line-t", ""}, {"wo\n", "[redacted]\n"},
		{"x ab\ncanary-line-two\ncanary-line-three\ny\n", "x [redacted]y\n"}, {"canary-line-two\ncanary-li", "[redacted]\n"},
		{"ne-three!\n", "[redacted]!\n"},
	} {
		out.Reset()
		if _, err := w.Write([]byte(step.in)); err != nil || out.String() != step.out {
			t.Errorf("after %q: got %q, want %q, %v", step.in, &out, step.out, err)
		}
	}
}

func TestNoRedactionChangesNothing(t *testing.T) {
	var none *secrets.Redaction
	none.Learn(value(t, canary))
	var out bytes.Buffer
	w := none.Writer(&out)
	_, err := w.Write([]byte(canary))
	if err = errors.Join(err, w.Close()); err != nil || none.Text(canary) != canary || out.String() != canary {
		t.Errorf("%v, %q, %q", err, none.Text(canary), &out)
	}
}
