package secrets_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"minibot/secrets"
)

func TestRedact(t *testing.T) {
	const odd = "canary/+ \"<ü>&\\=1"
	const lines = "-----BEGIN-----\ncanary-line-one\nab\ncanary-line-two\n"
	quoted, err := json.Marshal(odd)
	if err != nil {
		t.Fatal(err)
	}
	r := secrets.NewRedactor(value(t, canary), value(t, canary+"-longer"), value(t, odd), value(t, "abc"), value(t, lines), value(t, "onetwo"), value(t, "twothree"), secrets.Value{})
	for _, test := range []struct{ name, in, want string }{
		{"nothing", "hello abc", "hello abc"},
		{"plain", "a " + canary + "!", "a [redacted]!"},
		{"twice", canary + canary, "[redacted][redacted]"},
		{"longest first", canary + "-longer.", "[redacted]."},
		{"overlapping", "onetwothree.", "[redacted]."},
		{"base64", base64.StdEncoding.EncodeToString([]byte(odd)), "[redacted]"},
		{"base64 raw", base64.RawStdEncoding.EncodeToString([]byte(odd)), "[redacted]"},
		{"base64 URL", base64.URLEncoding.EncodeToString([]byte(odd)), "[redacted]"},
		{"hex", "x " + hex.EncodeToString([]byte(canary)), "x [redacted]"},
		{"HEX", strings.ToUpper(hex.EncodeToString([]byte(canary))), "[redacted]"},
		{"query", "?p=" + url.QueryEscape(odd) + "&q", "?p=[redacted]&q"},
		{"path", "/" + url.PathEscape(odd) + "/q", "/[redacted]/q"},
		{"lower query", strings.ToLower(url.QueryEscape(odd)), "[redacted]"},
		{"JSON", `{"k":` + string(quoted) + `}`, `{"k":"[redacted]"}`},
		{"Go", fmt.Sprintf("%q %+q", odd, odd), `"[redacted]" "[redacted]"`},
		{"several lines", "x" + lines + "y", "x[redacted]y"},
		{"a line of several", "log: canary-line-two.", "log: [redacted]."},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := r.String(test.in); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if got := string(r.Redact([]byte(test.in))); got != test.want {
				t.Errorf("Redact: got %q, want %q", got, test.want)
			}
			for size := 1; size <= len(test.in); size++ {
				if got := chunked(t, r, test.in, size); got != test.want && !strings.Contains(test.in, "\n") || strings.Contains(got, "canary") {
					t.Fatalf("Writer in pieces of %d: got %q, want %q", size, got, test.want)
				}
			}
		})
	}
}

func chunked(t *testing.T, r *secrets.Redactor, text string, size int) string {
	t.Helper()
	var out bytes.Buffer
	w := r.Writer(&out)
	for rest := []byte(text); len(rest) > 0; rest = rest[min(size, len(rest)):] {
		part := rest[:min(size, len(rest))]
		if n, err := w.Write(part); err != nil || n != len(part) {
			t.Fatal(n, err)
		}
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("a closed writer takes more")
	}
	return out.String()
}

func TestRedactBase64InsideSomethingLonger(t *testing.T) {
	for length := 8; length <= 12; length++ {
		secret := canary[:length]
		r := secrets.NewRedactor(value(t, secret))
		for before := range 4 {
			for after := range 4 {
				text := strings.Repeat("u", before) + secret + strings.Repeat("v", after)
				got := r.String(base64.StdEncoding.EncodeToString([]byte(text)))
				hole := strings.Index(got, "[redacted]")
				// What stays may hold the neighbours, and at most 2 characters of the value at either end.
				if hole < 0 || hole > (before*8+5)/6+2 || len(got)-hole-len("[redacted]") > (after*8+5)/6+4 {
					t.Errorf("length %d, %d before, %d after: got %q", length, before, after, got)
				}
			}
		}
	}
}

func TestRedactingWriterPassesLinesOnAtOnce(t *testing.T) {
	var out bytes.Buffer
	w := secrets.NewRedactor(value(t, canary)).Writer(&out)
	for _, step := range []struct{ in, out string }{
		{"line\n", "line\n"}, {"part c", "line\npart "}, {"anary-X\n", "line\npart canary-X\n"},
	} {
		if _, err := w.Write([]byte(step.in)); err != nil || out.String() != step.out {
			t.Errorf("after %q: %q, %v", step.in, &out, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestRedactingWriterReportsErrors(t *testing.T) {
	want := errors.New("full")
	w := secrets.NewRedactor(value(t, canary)).Writer(failing{want})
	if _, err := w.Write([]byte("x")); !errors.Is(err, want) {
		t.Error(err)
	}
	if err := w.Close(); !errors.Is(err, want) {
		t.Error(err)
	}
}

func TestZeroRedactorChangesNothing(t *testing.T) {
	for _, r := range []*secrets.Redactor{nil, {}, secrets.NewRedactor()} {
		if r.String("text") != "text" || string(r.Redact([]byte("text"))) != "text" || chunked(t, r, "text", 1) != "text" {
			t.Error("the text changed")
		}
	}
}

func BenchmarkRedactFewValues(b *testing.B) {
	benchmarkRedact(b, secrets.NewRedactor(value(b, canary), value(b, canary+"2"), value(b, "another-canary-value")))
}

func BenchmarkRedactHundredLargestValues(b *testing.B) { benchmarkRedact(b, largest(b, 100)) }

// largest is a redactor for values of 64 KiB.
func largest(t testing.TB, count int) *secrets.Redactor {
	var values []secrets.Value
	random := rand.NewChaCha8([32]byte([]byte("canary-canary-canary-canary-cana")))
	for range count {
		raw := make([]byte, secrets.MaxValueSize*3/4)
		if _, err := random.Read(raw); err != nil {
			t.Fatal(err)
		}
		values = append(values, value(t, base64.StdEncoding.EncodeToString(raw)))
	}
	return secrets.NewRedactor(values...)
}

func benchmarkRedact(b *testing.B, r *secrets.Redactor) {
	text := []byte(strings.Repeat("2026-11-23 LOG: database system is ready to accept connections\n", 100))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r.Redact(text)
	}
}

// A log may come at 10 MB/s. One piece of it at least is timed while nobody else uses the machine.
func TestRedactingALogIsNoCrawlWithManyValuesOf64KiB(t *testing.T) {
	w, best := largest(t, 20).Writer(io.Discard), 0.0
	text := []byte(strings.Repeat("2026-11-23 LOG: database system is ready to accept connections\n", 1000))
	for range 30 {
		began := time.Now()
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		best = max(best, float64(len(text))/time.Since(began).Seconds()/1e6)
	}
	if best < 10 {
		t.Errorf("%.1f MB/s", best)
	}
}
