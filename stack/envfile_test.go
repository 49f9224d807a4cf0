package stack

import (
	"errors"
	"strings"
	"testing"

	"minibot/hint"
	"minibot/secrets"
)

func TestParseEnvFile(t *testing.T) {
	text := "\ufeff# a comment\n\nPLAIN=canary-plain\nexport EXPORTED=canary-exported\nSPACED = canary spaced  # a comment\r\n" +
		"HASH=canary#hash\nSINGLE='canary $NOT ${EXPANDED} \\n \"'\nDOUBLE=\"canary \\\"q\\\" \\$x $$y\\ttab\"\n" +
		"LINES=\"canary one\ntwo\"\nYAML: canary-yaml\nEMPTY=\nNOTHING=''\nBARE\nlower=canary-lower\nQUOTE=canary'quote\n" +
		"URL=postgres://u:${PLAIN}@${LATER}/\nLATER=canary-later\nTWICE=canary-1\nTWICE=canary-2\nBASE64=Y2FuYXJ5LQ==\n"
	want := map[string]string{
		"PLAIN": "canary-plain", "EXPORTED": "canary-exported", "SPACED": "canary spaced", "HASH": "canary#hash",
		"SINGLE": "canary $NOT ${EXPANDED} \\n \"", "DOUBLE": "canary \"q\" $x $y\ttab", "LINES": "canary one\ntwo", "YAML": "canary-yaml",
		"EMPTY": "", "NOTHING": "", "lower": "canary-lower", "QUOTE": "canary'quote",
		"URL": "postgres://u:canary-plain@canary-later/", "LATER": "canary-later", "TWICE": "canary-2", "BASE64": "Y2FuYXJ5LQ==",
	}
	list, err := ParseEnvFile([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range list {
		plain, ok := want[v.Name]
		if !ok || string(v.Value.Reveal()) != plain || v.Fault != nil {
			t.Errorf("%s: %q, %v, want %q", v.Name, v.Value.Reveal(), v.Fault, plain)
		}
		if i > 0 && list[i-1].Name >= v.Name {
			t.Error("not sorted")
		}
		delete(want, v.Name)
	}
	if len(want) > 0 {
		t.Errorf("left out: %v", want)
	}
}

func TestParseEnvFileFaults(t *testing.T) {
	for text, want := range map[string]string{
		"A=ok\nB=canary$word\n":                             "single quotes",
		"A=ok\nB=\"canary ${GONE}\"\n":                      "single quotes",
		"A=ok\nB=${OTHER}\nOTHER=canary$word\n":             "single quotes",
		"A=ok\nB=canary$C\nexport C\n":                      "single quotes",
		"A=ok\nB=canary\x00\n":                              "NUL",
		"A=ok\nB=" + strings.Repeat("canary", 20000) + "\n": "too large",
	} {
		list, err := ParseEnvFile([]byte(text))
		if err != nil || len(list) < 2 {
			t.Fatalf("%.40q: %v", text, err)
		}
		if list[0].Fault != nil || list[1].Fault == nil || !list[1].Value.IsZero() ||
			!strings.Contains(list[1].Fault.Error(), want) || strings.Contains(list[1].Fault.Error(), "canary") {
			t.Errorf("%.40q: %v", text, list[1].Fault)
		}
	}
}

func TestParseEnvFileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"A=x\nB='canary":                   "line 2: not a usable .env file: a quote that begins here or above is not closed",
		"A=x\n\nB C=canary\n":              "line 3: ",
		"canary!canary\n":                  "line 1: not a usable .env file: want NAME=VALUE",
		"A=${canary\n":                     "a $ in it is no reference",
		"A=can${B}ary\nB=x$A\n":            "without end",
		"{\"json\": \"canary\"}\n":         "want NAME=VALUE",
		"-----BEGIN CANARY KEY-----\nxx\n": "",
	} {
		_, err := ParseEnvFile([]byte(text))
		if !errors.Is(err, ErrEnvFile) || !strings.Contains(err.Error(), want) || hint.Of(err) == "" || strings.Contains(err.Error()+hint.Of(err), "canary") {
			t.Errorf("%q: %v, hint %q", text, err, hint.Of(err))
		}
	}
}

func FuzzParseEnvFile(f *testing.F) {
	for _, seed := range []string{"A=b", "A='b", "A=\"$A\"", "export A", "A=${B:-c}\nB", "A:b\x00", "=", "A=$$$", "\ufeff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseEnvFile([]byte(text))
		if err != nil && (!errors.Is(err, ErrEnvFile) || hint.Of(err) == "") {
			t.Errorf("%v", err)
		}
		for _, v := range list {
			if v.Fault != nil && !v.Value.IsZero() || v.Fault == nil && v.Value.Len() > secrets.MaxValueSize {
				t.Errorf("%q: %v", v.Name, v.Fault)
			}
		}
	})
}
