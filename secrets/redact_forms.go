package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
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
	return slices.Concat([]string{value}, percentForms(value), hexForms(value), quotedForms(value))
}

// percentForms returns value as the ways to escape it for a URL write it.
func percentForms(value string) []string {
	query, path := url.QueryEscape(value), url.PathEscape(value)
	spaced := strings.ReplaceAll(query, "+", "%20")
	return []string{query, lowerEscapes(query), spaced, lowerEscapes(spaced), path, lowerEscapes(path)}
}

func hexForms(value string) []string {
	digits := hex.EncodeToString([]byte(value))
	return []string{digits, strings.ToUpper(digits)}
}

// quotedForms returns what stands between the quotes of a string of Go or JSON.
func quotedForms(value string) []string {
	forms := []string{unquote(strconv.Quote(value)), unquote(strconv.QuoteToASCII(value))}
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

// base64Forms returns value encoded by itself, and what of it is in every encoding of something longer.
func base64Forms(value string) []string {
	forms := base64Within(value)
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		forms = append(forms, encoding.EncodeToString([]byte(value)), encoding.WithPadding(base64.NoPadding).EncodeToString([]byte(value)))
	}
	return forms
}

// base64Within returns the characters that value alone decides when it begins 0, 1 or 2 bytes after a group of three: they
// are in every encoding of value, padded or not, by itself or in something longer.
func base64Within(value string) []string {
	var forms []string
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + value))
			first := (8*shift + 5) / 6           // characters that the bytes before have a part in
			last := 8 * (shift + len(value)) / 6 // from here on, the bytes after have a part in
			forms = append(forms, encoded[first:last])
		}
	}
	return forms
}
