package agefile

import (
	"errors"
	"strings"
	"testing"

	"filippo.io/age"

	"minibot/hint"
	"minibot/secrets"
)

func TestCheckPrivate(t *testing.T) {
	for _, test := range []struct {
		mode, owner uint32
		self        int
		hint        string
	}{
		{0o600, 501, 501, ""},
		{0o400, 501, 501, ""},
		{0o640, 501, 501, "chmod 600 K"},
		{0o604, 501, 501, "chmod 600 K"},
		{0o620, 501, 501, "chmod 600 K"},
		{0o700, 501, 501, "chmod 600 K"},
		{0o600, 0, 501, "chown 501 K && chmod 600 K"},
		{0o600, 501, 0, "chown 0 K && chmod 600 K"},
	} {
		err := checkPrivate("K", test.mode, test.owner, test.self)
		if hint.Of(err) != test.hint || errors.Is(err, secrets.ErrDenied) != (test.hint != "") {
			t.Errorf("%+v: got %v, hint %q", test, err, hint.Of(err))
		}
	}
}

// keyPQ opens nothing.
const keyPQ = "AGE-SECRET-KEY-PQ-1XXAPLZQVEVLVUWNR8X5NS7L0RRTKQXHLWJ5YGYPXXN0VKVVCGJ6SKS4NUV"

func generated(t testing.TB) string {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return identity.String()
}

func TestParseKeys(t *testing.T) {
	two := generated(t)
	for _, test := range []struct {
		name, text string
		keys       int
		rekeying   bool
		says       string
	}{
		{"as it is written", keys{identities: identities(t, two)}.plain(), 1, false, ""},
		{"amid a rekey", keys{identities: identities(t, two, generated(t)), rekeying: true}.plain(), 2, true, ""},
		{"amid a rekey from or to a passphrase", keys{identities: identities(t, two), rekeying: true}.plain(), 1, true, ""},
		{"bare", two, 1, false, ""},
		{"as age-keygen writes it", "# created: 2026-01-01T00:00:00Z\n# public key: age1x\n" + two + "\n", 1, false, ""},
		{"CRLF", "# a comment\r\n\r\n" + two + "\r\n\r\n", 1, false, ""},
		{"amid a rekey, CRLF", strings.ReplaceAll(keys{identities: identities(t, two), rekeying: true}.plain(), "\n", "\r\n"), 1, true, ""},
		{"empty", "", 0, false, "no key"},
		{"comments only", "# nothing\n\n", 0, false, "no key"},
		{"two", two + "\n" + generated(t) + "\n", 0, false, "several"},
		{"three amid a rekey", rekeyComment + "\n" + two + "\n" + generated(t) + "\n" + generated(t), 0, false, "several"},
		{"the mark only", rekeyComment + "\n", 0, false, "no key"},
		{"cut off", two[:40], 0, false, "cut off"},
		{"mistyped", two[:40] + "B" + two[41:], 0, false, "mistyped"},
		{"lower case", strings.ToLower(two), 0, false, "something else"},
		{"a space behind", two + " ", 0, false, "mistyped"},
		{"post-quantum", keyPQ, 0, false, "post-quantum"},
		{"post-quantum beside it", two + "\n" + keyPQ, 0, false, "post-quantum"},
		{"plugin", "AGE-PLUGIN-YUBIKEY-1QYPQXPQ9QCRSSZG2PVXQ6RS0ZQG3YYC5Z5TPWXQERGD3C8G7RUSQJ4JT3", 0, false, "plugin"},
		{"ssh", "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n-----END OPENSSH PRIVATE KEY-----\n", 0, false, "SSH"},
		{"ssh public", "ssh-ed25519 AAAA canary@host", 0, false, "public SSH"},
		{"public", "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p", 0, false, "public key"},
		{"encrypted", "age-encryption.org/v1\n-> scrypt canary 18\n", 0, false, "encrypted"},
		{"encrypted, armored", "-----BEGIN AGE ENCRYPTED FILE-----\ncanary\n", 0, false, "encrypted"},
		{"byte order mark", "\ufeff" + two, 0, false, "something else"},
		{"not text", "\xff\xfe\x00canary", 0, false, "something else"},
	} {
		found, err := parseKeys(test.text)
		if len(found.identities) != test.keys || found.rekeying != test.rekeying {
			t.Errorf("%s: %d keys, rekeying: %t, %v", test.name, len(found.identities), found.rekeying, err)
		}
		if test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) || test.says == "" && err != nil {
			t.Errorf("%s: got %v, want %q", test.name, err, test.says)
		}
		if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), two[20:40])) {
			t.Errorf("%s: the error quotes the file", test.name)
		}
	}
}

func (k keys) plain() string { return string(k.text()) }

func identities(t testing.TB, texts ...string) (all []*age.X25519Identity) {
	t.Helper()
	for _, text := range texts {
		identity, err := age.ParseX25519Identity(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, identity)
	}
	return all
}

func FuzzParseKeys(f *testing.F) {
	one, two := generated(f), generated(f)
	for _, seed := range []string{
		one, one + "\r\n# x\r\n", one + "\n" + two, rekeyComment + "\n" + one + "\n" + two, keyPQ, "AGE-PLUGIN-X-1", "", "\xff",
		"-----BEGIN OPENSSH PRIVATE KEY-----\n", strings.Repeat("#\n", 100) + one,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		found, err := parseKeys(text)
		if err != nil {
			for line := range strings.Lines(text) {
				if line = strings.TrimSpace(line); len(line) > 20 && strings.Contains(err.Error(), line) {
					t.Error("the error quotes the file")
				}
			}
			return
		}
		if n := len(found.identities); n != 1 && (n != 2 || !found.rekeying) {
			t.Fatalf("%d keys, rekeying: %t", n, found.rekeying)
		}
		again, err := parseKeys(string(found.text()))
		if err != nil || again.rekeying != found.rekeying || len(again.identities) != len(found.identities) {
			t.Fatalf("what was read does not come back: %v", err)
		}
		for _, identity := range found.identities {
			if !strings.Contains(text, identity.String()) || !again.has(identity) {
				t.Error("a key that is not in the file")
			}
		}
	})
}
