package security

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"minibot/secrets/security/securitytest/standin"
)

// FuzzLine: what the store quotes is what the program reads, each of the two written from the rules.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{"", " ", `"`, `\`, `\\`, `"\"`, `'`, "-w", "a b", "\xff", `a"b'c\d`} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, keychain, text string) {
		if strings.ContainsAny(keychain+text, "\n\x00") {
			return // refused, or never quoted
		}
		s := &Store{keychain: appendQuoted([]byte{' '}, []byte(keychain))}
		line := s.addLine("service", "ACCOUNT", []byte(text))
		got := standin.SplitLine(strings.TrimSuffix(string(line), "\n"))
		want := []string{"add-generic-password", "-U", "-s", "service", "-a", "ACCOUNT", "-w", text, keychain}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("%q is read as %q", line, got)
		}
	})
}

// FuzzPrinted: what the program prints is decoded to what it has.
func FuzzPrinted(f *testing.F) {
	for _, seed := range []string{"", "a", `"`, `""`, "0x41", "0x", `\`, "ä", "\x00", "a\n", "\xff\xfe"} {
		f.Add([]byte(seed), seed, int64(len(seed)))
	}
	f.Fuzz(func(t *testing.T, value []byte, account string, seconds int64) {
		if got, ok := decodeBuffer([]byte(standin.Buffer(value))); !ok || !bytes.Equal(got, value) {
			t.Errorf("%q is printed as %q and decoded as %q", value, standin.Buffer(value), got)
		}
		at := time.Unix(seconds&0x3fffffffff, 0).UTC()
		if at.Year() > 9999 {
			return
		}
		var out bytes.Buffer
		for range 2 {
			standin.Attributes(&out, string(value), &standin.Item{Service: string(value), Account: account, Label: account, Modified: at})
		}
		items := (&answer{stdout: out.Bytes()}).items()
		want := attributes{"genp", string(value), account, at}
		if len(items) != 2 || items[0] != want || items[1] != want {
			t.Errorf("%q, %q: got %v", value, account, items)
		}
		stderr := fmt.Sprintf("security: %q\npassword: %s\nfind-generic-password: returned -25300\n", account, standin.Buffer(value))
		outcomes := (&answer{stderr: []byte(stderr)}).outcomes()
		if len(outcomes) != 2 || !bytes.Equal(outcomes[0].value, value) || outcomes[1].status != statusNotFound {
			t.Errorf("%q: got %v", stderr, outcomes)
		}
	})
}

// FuzzAnswer: nothing that the program may print ends the process, or is taken for an item of an invented date.
func FuzzAnswer(f *testing.F) {
	var out bytes.Buffer
	standin.Attributes(&out, "/k", &standin.Item{Service: "minibot", Account: "A", Modified: time.Unix(0, 0)})
	f.Add(out.Bytes())
	f.Add([]byte("password: 0x\npassword: \"\npassword: \nadd-generic-password: returned -99999999999\nkeychain: \n    \"mdat\"<timedate>=0x00\n"))
	f.Fuzz(func(t *testing.T, printed []byte) {
		a := &answer{stdout: printed, stderr: printed}
		for _, o := range a.outcomes() {
			if o.status != 0 && o.value != nil {
				t.Errorf("a failure has a value: %v", o)
			}
		}
		for _, i := range a.items() {
			if !i.changed.IsZero() && i.changed.Location() != time.UTC {
				t.Errorf("%v is not in UTC", i.changed)
			}
		}
		if plain, in, err := decode(printed); err == nil && plain == nil && in == nil && len(printed) > 0 {
			t.Errorf("%q is decoded to nothing", printed)
		}
	})
}
