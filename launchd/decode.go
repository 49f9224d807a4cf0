package launchd

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"time"

	"howett.net/plist"

	"minibot/hint"
)

// maxSize bounds a property list. An agent's has a few KiB.
const maxSize = 256 << 10

// Errors of what is no property list of an agent.
var (
	errTooLarge  = errors.New("the property list is too large")
	errMalformed = errors.New("this is not a property list in XML")
	errBinary    = errors.New("the property list is binary")
	errNoDict    = errors.New("the property list is not a dictionary")
)

// decode returns the dictionary of a property list in XML: map[string]any, []any, string, bool, int64, uint64, float64, []byte
// and time.Time. It takes text from anywhere. The library's readers of the other forms are kept from it: some binary input makes
// them ask for any amount of memory.
func decode(data []byte) (keys map[string]any, err error) {
	defer func() {
		if r := recover(); r != nil { // the library panics with runtime errors
			keys, err = nil, errMalformed
		}
	}()
	switch text := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n"); {
	case len(data) > maxSize:
		return nil, errTooLarge
	case bytes.HasPrefix(data, []byte("bplist")):
		return nil, hint.Wrap(errBinary, "run `plutil -convert xml1 FILE`")
	case !bytes.HasPrefix(text, []byte("<")), bytes.IndexByte(text, 0) >= 0, !wellFormed(text):
		return nil, errMalformed
	}
	var value any
	if format, err := plist.Unmarshal(data, &value); err != nil || format != plist.XMLFormat {
		return nil, errMalformed // the library's text quotes what it read
	}
	keys, ok := value.(map[string]any)
	if !ok {
		return nil, errNoDict
	}
	return keys, nil
}

// wellFormed tells whether data is one whole XML document, whose root is plist. The library stops reading after the first value,
// so that it takes a file that was cut off; launchd does not.
func wellFormed(data []byte) bool {
	depth, roots := 0, 0
	for decoder := xml.NewDecoder(bytes.NewReader(data)); ; {
		token, err := decoder.Token()
		if err != nil {
			return errors.Is(err, io.EOF) && depth == 0 && roots == 1
		}
		switch token := token.(type) {
		case xml.StartElement:
			if depth == 0 {
				roots++
				if token.Name.Local != "plist" {
					return false
				}
			}
			depth++
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(token)) > 0 {
				return false
			}
		}
	}
}

// kindOf names the type of a decoded value as launchd.plist(5) does.
func kindOf(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case int64, uint64:
		return "integer"
	case float32, float64:
		return "real"
	case []any:
		return "array"
	case map[string]any:
		return "dictionary"
	case []byte:
		return "data"
	case time.Time:
		return "date"
	}
	return fmt.Sprintf("%T", value)
}
