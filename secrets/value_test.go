package secrets_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"minibot/secrets"
)

const canary = "canary-POSTGRES-7f3a"

func value(t testing.TB, plain string) secrets.Value {
	t.Helper()
	v, err := secrets.NewValue([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// mustHide fails when text shows the canary as text, or as the numbers of its bytes in some base.
func mustHide(t *testing.T, what, text string) {
	t.Helper()
	text = strings.ToLower(text)
	for _, form := range []string{canary, "99 97 110", "0x63, 0x61, 0x6e", "63616e", "63 61 6e", "143 141 156", "1100011 1100001", "u+0063", "'c' 'a'"} {
		if strings.Contains(text, strings.ToLower(form)) {
			t.Errorf("%s shows the value", what)
			return
		}
	}
}

type exported struct{ V secrets.Value }

type hidden struct{ v secrets.Value } // fmt calls no methods of what lies here

func TestValueRedactsUnderEveryVerb(t *testing.T) {
	v := value(t, canary)
	shapes := map[string]any{
		"value": v, "pointer": &v, "slice": []secrets.Value{v}, "array": [1]secrets.Value{v},
		"map": map[string]secrets.Value{"k": v}, "map of pointers": map[string]*secrets.Value{"k": &v},
		"struct": exported{v}, "pointer to struct": &exported{v}, "hidden": hidden{v}, "pointer to hidden": &hidden{v},
		"hidden in slice": []hidden{{v}}, "hidden in map": map[string]hidden{"k": {v}}, "any": []any{v, &v, hidden{v}},
		"item": secrets.Item{Value: v}, "items": secrets.Items{{Value: v}}, "redactor": secrets.NewRedactor(v), "redactor inside": struct{ r *secrets.Redactor }{secrets.NewRedactor(v)},
		"redactor by value": struct{ r secrets.Redactor }{*secrets.NewRedactor(v)},
	}
	for name, shape := range shapes {
		for verb := '!'; verb <= '~'; verb++ {
			if strings.ContainsRune("0123456789.+-#*[%", verb) {
				continue
			}
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "# ", "+#", "30", ".3"} {
				format := "%" + flags + string(verb)
				mustHide(t, name+" under "+format, fmt.Sprintf(format, shape))
			}
		}
	}
	if got := fmt.Sprintf("%v %s %q %d %x %#v", v, v, v, v, v, v); got != strings.TrimSpace(strings.Repeat("[redacted] ", 6)) {
		t.Errorf("got %q", got)
	}
}

func TestValueRedactsInLogsAndEncodings(t *testing.T) {
	v := value(t, canary)
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		logger := slog.New(handler)
		logger.Info("m", "v", v, "p", &v, "s", exported{v}, "h", hidden{v}, "hp", &hidden{v}, "list", []secrets.Value{v},
			"map", map[string]any{"k": v}, slog.Group("g", "v", v), "err", fmt.Errorf("wrapped %v", v))
		logger.With("v", v, "h", hidden{v}).Info("m")
	}
	if err := json.NewEncoder(&out).Encode(map[string]any{"v": v, "p": &v, "s": exported{v}, "h": hidden{v}, "i": secrets.Item{Value: v}}); err != nil {
		t.Error(err)
	}
	if err := xml.NewEncoder(&out).Encode(exported{v}); err != nil {
		t.Error(err)
	}
	text, err := v.MarshalText()
	if err != nil {
		t.Error(err)
	}
	out.Write(text)
	mustHide(t, "output", out.String())
	if n := strings.Count(out.String(), "[redacted]"); n < 10 {
		t.Errorf("only %d places say that something is redacted:\n%s", n, &out)
	}
}

func TestNewValue(t *testing.T) {
	for _, test := range []struct {
		name  string
		plain []byte
		want  error
	}{
		{"nil", nil, secrets.ErrEmptyValue},
		{"empty", []byte{}, secrets.ErrEmptyValue},
		{"NUL", []byte("canary\x00x"), secrets.ErrNUL},
		{"largest", bytes.Repeat([]byte{'x'}, secrets.MaxValueSize), nil},
		{"too large", bytes.Repeat([]byte{'x'}, secrets.MaxValueSize+1), secrets.ErrTooLarge},
		{"not UTF-8", []byte{0xff, 0xfe, '\n'}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := secrets.NewValue(test.plain)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if err == nil && !bytes.Equal(v.Reveal(), test.plain) {
				t.Error("the value is another one")
			}
			if v.IsZero() != (err != nil) {
				t.Error("IsZero is wrong")
			}
		})
	}
}

func TestValueKeepsItsOwnCopy(t *testing.T) {
	plain := []byte(canary)
	v, err := secrets.NewValue(plain)
	if err != nil {
		t.Fatal(err)
	}
	plain[0] = 'X'
	v.Reveal()[1] = 'X'
	if string(v.Reveal()) != canary {
		t.Error("the value changed")
	}
}

func TestValueEqual(t *testing.T) {
	a, b, c := value(t, canary), value(t, canary), value(t, "canary-other")
	if !a.Equal(b) || a.Equal(c) || a.Equal(secrets.Value{}) || !(secrets.Value{}).Equal(secrets.Value{}) {
		t.Error("Equal is wrong")
	}
	if !reflect.DeepEqual(a, b) || reflect.DeepEqual(a, c) {
		t.Error("DeepEqual does not see the contents")
	}
	if reflect.TypeOf(a).Comparable() {
		t.Error("a Value must not be comparable with ==")
	}
	if (secrets.Value{}).Len() != 0 || a.Len() != len(canary) || !slices.Equal((secrets.Value{}).Reveal(), nil) {
		t.Error("Len or Reveal is wrong")
	}
}

func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"", "A", "POSTGRES_PASSWORD", "a", "1A", "A-B", "A\n", "Ä", "_A", strings.Repeat("A", 64), strings.Repeat("A", 65)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := len(s) >= 1 && len(s) <= 64 && s[0] >= 'A' && s[0] <= 'Z'
		for _, c := range []byte(s) {
			want = want && (c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_')
		}
		name, err := secrets.ParseName(s)
		if want != (err == nil) || (err != nil && (!errors.Is(err, secrets.ErrInvalidName) || name != "")) || (err == nil && string(name) != s) {
			t.Errorf("ParseName(%q) = %q, %v", s, name, err)
		}
	})
}
