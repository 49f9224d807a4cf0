package secrets

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func textsOf(value string) map[string]Encoding {
	texts := map[string]Encoding{}
	for _, form := range Forms(newValue([]byte(value))) {
		texts[string(form.Text.Reveal())] = form.Encoding
	}
	return texts
}

// holds reports whether text holds one of the forms, and of which encoding.
func holds(text string, forms map[string]Encoding) (Encoding, bool) {
	for form, encoding := range forms {
		if strings.Contains(text, form) {
			return encoding, true
		}
	}
	return "", false
}

func TestFormsAreInWhatProgramsWrite(t *testing.T) {
	const value = "canary-a b+c/ö'\"$&<é"
	forms := textsOf(value)
	for name, c := range map[string]struct {
		text string
		want Encoding
	}{
		"plain":                {"x" + value + "y", Plain},
		"base64, padded":       {base64.StdEncoding.EncodeToString([]byte(value)), Base64},
		"base64, 1 byte in":    {base64.StdEncoding.EncodeToString([]byte("x" + value + "yz")), Base64},
		"base64, 2 bytes in":   {base64.RawURLEncoding.EncodeToString([]byte("xx" + value + "y")), Base64},
		"base64, 3 bytes in":   {base64.URLEncoding.EncodeToString([]byte("xxx" + value)), Base64},
		"hex":                  {hex.EncodeToString([]byte("x" + value)), Hex},
		"hex, upper case":      {strings.ToUpper(hex.EncodeToString([]byte(value))), Hex},
		"url, query":           {url.QueryEscape(value), URL},
		"url, lower case, %20": {lowerEscapes(strings.ReplaceAll(url.QueryEscape(value), "+", "%20")), URL},
		"url, path":            {url.PathEscape(value), URL},
		"json":                 {`"canary-a b+c/ö'\"$\u0026\u003cé"`, Escaped},
		"json, html left":      {`"canary-a b+c/ö'\"$&<é"`, Escaped},
		"ascii":                {`canary-a b+c/\u00f6'\"$&<\u00e9`, Escaped},
		"shell, quoted":        {`'canary-a b+c/ö'\''"$&<é'`, Escaped},
		"shell, double quotes": {`"canary-a b+c/ö'\"\$&<é"`, Escaped},
		"shell, backslashes":   {`canary-a\ b+c/ö\'\"\$\&\<é`, Escaped},
		"yaml and sql":         {`'canary-a b+c/ö''"$&<é'`, Escaped},
		"xml":                  {`<string>canary-a b+c/ö'"$&amp;&lt;é</string>`, Escaped},
		"xml attribute":        {`canary-a b+c/ö&apos;&quot;$&amp;&lt;é`, Escaped},
		"html attribute":       {`canary-a b+c/ö&#39;&#34;$&amp;&lt;é`, Escaped},
	} {
		if got, ok := holds(c.text, forms); !ok || got != c.want {
			t.Errorf("%s: found %v as %q", name, ok, got)
		}
	}
	if _, ok := holds("c\x00a\x00n\x00a\x00r\x00y\x00-\x001\x002\x00", textsOf("canary-12")); !ok {
		t.Error("UTF-16 is not found")
	}
}

func TestFormsOfSeveralLines(t *testing.T) {
	key := "-----BEGIN CANARY KEY-----\ncanary0canary1canary2canary3\ncanary4\n-----END CANARY KEY-----\n"
	forms := textsOf(key)
	if got, ok := holds("log: canary0canary1canary2canary3", forms); !ok || got != Line {
		t.Errorf("a line of a key: %v, %q", ok, got)
	}
	if _, ok := holds("-----BEGIN CANARY KEY-----", forms); ok {
		t.Error("the frame of a key is taken for a key")
	}
	if _, ok := holds("canary4", forms); ok {
		t.Error("a short line is a form by itself")
	}
}

func TestFormsDoNotPrint(t *testing.T) {
	if Forms(Value{}) != nil {
		t.Error("a zero value has forms")
	}
	forms := Forms(newValue([]byte("canary-0123456789")))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(verb, forms); strings.Contains(text, "canary") || strings.Contains(text, "63616e") ||
			strings.Contains(text, "99 97 110") {
			t.Errorf("%s prints a form", verb)
		}
	}
}
