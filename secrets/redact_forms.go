package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
)

// formsOf returns value and how else programs write it; see [Redactor].
func formsOf(value string) []string {
	if len(value) < minRedacted {
		return nil
	}
	forms := plainForms(value)
	forms = append(forms, base64Forms(value)...)
	lines := strings.FieldsFunc(value, func(c rune) bool { return c == '\n' || c == '\r' })
	if len(lines) > 1 || (len(lines) == 1 && lines[0] != value) {
		for _, line := range lines {
			if len(line) >= minRedactedLine {
				forms = append(forms, plainForms(line)...)
			}
		}
	}
	return forms
}

func plainForms(value string) []string {
	query, path := url.QueryEscape(value), url.PathEscape(value)
	digits := hex.EncodeToString([]byte(value))
	forms := []string{
		value,
		query, lowerEscapes(query),
		strings.ReplaceAll(query, "+", "%20"), lowerEscapes(strings.ReplaceAll(query, "+", "%20")),
		path, lowerEscapes(path),
		digits, strings.ToUpper(digits),
		unquote(strconv.Quote(value)), unquote(strconv.QuoteToASCII(value)),
	}
	for _, html := range []bool{true, false} {
		var buf bytes.Buffer
		encoder := json.NewEncoder(&buf)
		encoder.SetEscapeHTML(html)
		if encoder.Encode(value) == nil {
			forms = append(forms, unquote(strings.TrimSuffix(buf.String(), "\n")))
		}
	}
	return forms
}

func unquote(quoted string) string { return quoted[1 : len(quoted)-1] }

// lowerEscapes writes the digits of percent escapes in lower case.
func lowerEscapes(escaped string) string {
	b := []byte(escaped)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

// base64Forms returns value encoded by itself, and the characters that it alone decides when it begins 0, 1 or 2
// bytes after a group of three.
func base64Forms(value string) []string {
	var forms []string
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		forms = append(forms, encoding.EncodeToString([]byte(value)), encoding.WithPadding(base64.NoPadding).EncodeToString([]byte(value)))
		for shift := range 3 {
			encoded := encoding.WithPadding(base64.NoPadding).EncodeToString([]byte(strings.Repeat("\x00", shift) + value))
			first := (8*shift + 5) / 6           // characters that the bytes before have a part in
			last := 8 * (shift + len(value)) / 6 // from here on, the bytes after have a part in
			forms = append(forms, encoded[first:last])
		}
	}
	return forms
}
