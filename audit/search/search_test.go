package search

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"minibot/secrets"
)

func values(t testing.TB, texts ...string) []secrets.Value {
	t.Helper()
	var all []secrets.Value
	for _, text := range texts {
		v, err := secrets.NewValue([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func newSearcher(t testing.TB, texts ...string) *Searcher {
	t.Helper()
	s, err := New(values(t, texts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hits searches text, which arrives in pieces of at most size bytes.
func hits(t testing.TB, s *Searcher, r io.Reader) []Hit {
	t.Helper()
	var all []Hit
	if _, err := s.Search(t.Context(), r, func(h Hit) error { all = append(all, h); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryFormIsFound(t *testing.T) {
	const value = "canary-pass word+0123/456"
	s := newSearcher(t, "canary-somebody-else", value)
	for name, c := range map[string]struct {
		text string
		want secrets.Encoding
	}{
		"plain":       {"password=" + value + "\n", secrets.Plain},
		"base64":      {base64.StdEncoding.EncodeToString([]byte(value)), secrets.Base64},
		"base64, 1":   {base64.StdEncoding.EncodeToString([]byte("u:" + "a" + value)), secrets.Base64},
		"base64, 2":   {base64.StdEncoding.EncodeToString([]byte("user:" + value)), secrets.Base64},
		"base64, 3":   {base64.RawURLEncoding.EncodeToString([]byte("use:" + value + "??")), secrets.Base64},
		"hex":         {hex.EncodeToString([]byte(value)), secrets.Hex},
		"HEX":         {strings.ToUpper(hex.EncodeToString([]byte(value))), secrets.Hex},
		"url, +":      {url.QueryEscape(value), secrets.URL},
		"url, %20":    {url.PathEscape(value), secrets.URL},
		"url, lower":  {strings.ReplaceAll(strings.ToLower(url.PathEscape(value)), "", ""), secrets.URL},
		"json":        {fmt.Sprintf(`{"p":%q}`, value), secrets.Plain},
		"utf16":       {strings.Join(append(strings.Split(value, ""), ""), "\x00"), secrets.UTF16},
		"end of file": {"x" + value, secrets.Plain},
	} {
		got := hits(t, s, strings.NewReader(c.text))
		if !slices.ContainsFunc(got, func(h Hit) bool { return h.Value == 1 && h.Encoding == c.want }) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// naive is the search as anybody would write it: each form by itself over all of the text.
func naive(all []secrets.Value, text []byte) []Hit {
	var found []Hit
	for i, value := range all {
		forms := secrets.Forms(value)
		if value.Len() < MinAnywhere {
			forms = forms[:1]
		}
		for _, form := range forms {
			plain := form.Text.Reveal()
			for at := 0; value.Len() >= MinWord; {
				next := bytes.Index(text[at:], plain)
				if next < 0 {
					break
				}
				start, end := at+next, at+next+len(plain)
				if value.Len() < MinAnywhere && (start > 0 && isWord(text[start-1]) || end < len(text) && isWord(text[end])) {
					at = start + 1
					continue
				}
				found = append(found, Hit{i, form.Encoding, int64(start)})
				at = end
			}
		}
	}
	return sorted(found)
}

func sorted(all []Hit) []Hit {
	slices.SortFunc(all, func(a, b Hit) int {
		return strings.Compare(fmt.Sprintf("%020d %d %s", a.Offset, a.Value, a.Encoding), fmt.Sprintf("%020d %d %s", b.Offset, b.Value, b.Encoding))
	})
	return all
}

// pieces is a reader that gives text in pieces of random sizes.
func pieces(random *rand.Rand, text []byte) io.Reader {
	var readers []io.Reader
	for len(text) > 0 {
		n := min(1+random.IntN(1+random.IntN(blockSize)), len(text))
		readers = append(readers, iotest.DataErrReader(bytes.NewReader(text[:n])))
		text = text[n:]
	}
	return io.MultiReader(readers...)
}

// compare makes values and a text that is full of them and of what resembles them, and searches it in pieces.
func compare(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	alphabet := []string{"ab", "abcdef-_ /+%", "abcdefghijklmnopqrstuvwxyz0123456789", "aé\n\"'&$\\\x01\xff"}[random.IntN(4)]
	var texts []string
	for range 1 + random.IntN(6) {
		length := 1 + random.IntN(40)
		if random.IntN(16) == 0 {
			length = 1000 + random.IntN(60000)
		}
		var b strings.Builder
		for b.Len() < length {
			b.WriteByte(alphabet[random.IntN(len(alphabet))])
		}
		texts = append(texts, b.String())
	}
	all := values(t, texts...)
	var text []byte
	for range random.IntN(200) {
		value := all[random.IntN(len(all))]
		forms := secrets.Forms(value)
		form := forms[random.IntN(len(forms))].Text.Reveal()
		switch random.IntN(4) {
		case 0:
			form = form[:random.IntN(len(form))]
		case 1:
			form = form[random.IntN(len(form)):]
		case 2:
			for range random.IntN(2000) {
				text = append(text, alphabet[random.IntN(len(alphabet))])
			}
		}
		text = append(text, form...)
		if len(text) > 300<<10 {
			break
		}
	}
	s, err := New(all...)
	if err != nil {
		t.Fatal(err)
	}
	s.block = 1 + random.IntN(300) // many seams
	if random.IntN(3) == 0 {
		s.block = blockSize
	}
	got, want := sorted(hits(t, s, pieces(random, text))), naive(all, text)
	if !slices.Equal(got, want) {
		t.Fatalf("seed %d: %d hits in %d bytes, the naive search has %d", seed, len(got), len(text), len(want))
	}
}

func TestTheSameAsTheNaiveSearchHoweverItIsCut(t *testing.T) {
	for seed := range uint64(25) {
		compare(t, seed)
	}
}

func FuzzTheSameAsTheNaiveSearch(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed)
	}
	f.Fuzz(compare)
}

func TestShortValuesAreWordsOrSaidToBeTooShort(t *testing.T) {
	s := newSearcher(t, "abc", "can0", "canar", "canary")
	if !slices.Equal(s.Short(), []int{0, 1, 2}) {
		t.Errorf("short: %v", s.Short())
	}
	got := hits(t, s, strings.NewReader("abc xcan0 can0x can0_ =can0; canary canar\ncan0"))
	want := []Hit{{1, secrets.Plain, 23}, {3, secrets.Plain, 29}, {2, secrets.Plain, 36}, {1, secrets.Plain, 42}}
	if !slices.Equal(sorted(got), want) {
		t.Errorf("got %v", got)
	}
	// A word at the seam of two blocks.
	for shift := range 12 {
		text := strings.Repeat(".", blockSize-shift) + "can0" + strings.Repeat(".", blockSize)
		if got := hits(t, s, strings.NewReader(text)); len(got) != 1 {
			t.Errorf("%d bytes before the seam: %v", shift, got)
		}
		text = strings.Repeat("x", blockSize-shift) + "can0" + strings.Repeat(".", blockSize)
		if got := hits(t, s, strings.NewReader(text)); len(got) != 0 {
			t.Errorf("%d bytes before the seam, in a word: %v", shift, got)
		}
	}
}

func TestValuesOfAllBytes(t *testing.T) {
	var all []byte
	for i := 255; i > 0; i-- {
		all = append(all, byte(i))
	}
	for _, bytes := range [][]byte{all, all[:254], all[:253], all[1:]} {
		var turned []string
		for by := 0; by < len(bytes); by += 10 { // so that each byte is in the beginning of one of them
			turned = append(turned, string(bytes[by:])+string(bytes[:by]))
		}
		s := newSearcher(t, turned...)
		for i, text := range turned {
			if got := hits(t, s, strings.NewReader("\x00\xff"+text)); !slices.Contains(got, Hit{i, secrets.Plain, 2}) {
				t.Fatalf("number %d of the values of %d different bytes is not found", i, len(bytes))
			}
		}
	}
}

func TestOnlyTheWholeValueIsAMatch(t *testing.T) {
	begin, end := strings.Repeat("canary-", 10), strings.Repeat("-yranac", 10)
	s := newSearcher(t, begin+"middle"+end)
	if got := hits(t, s, strings.NewReader(begin+"mIddle"+end+begin+"middle"+end[1:])); len(got) != 0 {
		t.Errorf("found at %d", got[0].Offset)
	}
}

func TestMatchesOfAValueDoNotOverlap(t *testing.T) {
	s := newSearcher(t, "cacacaca")
	got := hits(t, s, strings.NewReader(strings.Repeat("ca", 14)))
	if want := []Hit{{0, secrets.Plain, 0}, {0, secrets.Plain, 8}, {0, secrets.Plain, 16}}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestNothingToLookFor(t *testing.T) {
	s, err := New(secrets.Value{})
	if err != nil {
		t.Fatal(err)
	}
	if got := hits(t, s, strings.NewReader("anything")); got != nil {
		t.Error(got)
	}
}

func TestTheSearcherDoesNotPrintWhatItLooksFor(t *testing.T) {
	s := newSearcher(t, "canary-0123456789")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, s); strings.Contains(text, "canary") || strings.Contains(text, "99") {
			t.Errorf("%s: %s", verb, text)
		}
	}
}

func TestAnErrorEndsTheSearch(t *testing.T) {
	s := newSearcher(t, "canary-0123456789")
	stop := errors.New("stop")
	if _, err := s.Search(t.Context(), strings.NewReader("canary-0123456789"), func(Hit) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("of found: %v", err)
	}
	broken := io.MultiReader(strings.NewReader("canary-0123456789"), iotest.ErrReader(stop))
	var found int
	if _, err := s.Search(t.Context(), broken, func(Hit) error { found++; return nil }); !errors.Is(err, stop) || found != 1 {
		t.Errorf("of the reader: %v, %d found before", err, found)
	}
}

// noise is text that looks like a log, without end.
type noise struct{}

var line = strings.Repeat(`2026-11-24T10:00:00Z level=info msg="served" path=/v1/things/42 status=200 took=12ms id=6f2a9c11`+"\n", 400)

func (noise) Read(p []byte) (int, error) { return copy(p, line), nil }

// watched notes the largest heap while it is read.
type watched struct {
	io.Reader
	reads int
	most  uint64
}

func (w *watched) Read(p []byte) (int, error) {
	if w.reads++; w.reads%256 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		w.most = max(w.most, m.HeapAlloc)
	}
	return w.Reader.Read(p)
}

func TestMemoryDoesNotGrowWithTheStream(t *testing.T) {
	s := newSearcher(t, "canary-0123456789", "canary-"+strings.Repeat("a long one ", 5000))
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	stream := &watched{Reader: io.LimitReader(noise{}, 200<<20)}
	n, err := s.Search(t.Context(), stream, func(Hit) error { return nil })
	if err != nil || n != 200<<20 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if grown := int64(stream.most) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("the heap grew by %d KiB over a stream of 200 MiB", grown>>10)
	}
}

func TestManyLargeValuesTakeLittleMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var texts []string
	for range 40 {
		b := make([]byte, secrets.MaxValueSize)
		for i := range b {
			b[i] = byte(33 + random.IntN(90))
		}
		texts = append(texts, string(b))
	}
	all := values(t, texts...)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s, err := New(all...)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 12<<20 {
		t.Errorf("40 values of 64 KiB take %d MiB to look for", grown>>20)
	}
	if got := hits(t, s, strings.NewReader("x"+texts[27])); len(got) != 1 || got[0].Value != 27 {
		t.Errorf("got %v", got)
	}
}
