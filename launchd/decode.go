package launchd

import (
	"errors"
	"fmt"
	"time"

	"howett.net/plist"
)

// Limits on a property list. An agent's has a few hundred entries, four levels deep, in a few KiB; a binary one can name the
// same entry many times, so that 1 KiB unfolds into any number of them.
const (
	maxSize    = 1 << 20
	maxEntries = 20_000
	maxDepth   = 16
)

// Errors of what is no property list of an agent.
var (
	errTooLarge  = errors.New("the property list is too large")
	errMalformed = errors.New("this is not a property list")
	errFormat    = errors.New("the property list is neither XML nor binary, which launchd wants")
	errNoDict    = errors.New("the property list is not a dictionary")
)

// lazy is a value that is decoded when it is asked for, so that walking it can stop.
type lazy struct{ into func(any) error }

// UnmarshalPlist implements plist.Unmarshaler.
func (l *lazy) UnmarshalPlist(into func(any) error) error {
	l.into = into
	return nil
}

// decode returns the dictionary of a property list, XML or binary: map[string]any, []any, string, bool, int64, uint64, float32,
// float64, []byte and time.Time. It takes text from anywhere.
func decode(data []byte) (keys map[string]any, format int, err error) {
	defer func() {
		if r := recover(); r != nil { // the library panics with runtime errors on some malformed input
			keys, format, err = nil, 0, errMalformed
		}
	}()
	if len(data) > maxSize {
		return nil, 0, errTooLarge
	}
	var root lazy
	format, err = plist.Unmarshal(data, &root)
	switch {
	case err != nil || root.into == nil:
		return nil, 0, errMalformed // the library's text quotes what it read
	case format != plist.XMLFormat && format != plist.BinaryFormat:
		return nil, 0, errFormat
	}
	budget := maxEntries
	value, err := root.value(&budget, 0)
	if err != nil {
		return nil, 0, err
	}
	keys, ok := value.(map[string]any)
	if !ok {
		return nil, 0, errNoDict
	}
	return keys, format, nil
}

// value decodes what l stands for, down to the leaves.
func (l lazy) value(budget *int, depth int) (any, error) {
	if *budget--; *budget < 0 || depth > maxDepth {
		return nil, errTooLarge
	}
	if l.into == nil {
		return nil, errMalformed // an entry without a value
	}
	var dict map[string]lazy
	if l.into(&dict) == nil && dict != nil {
		out := make(map[string]any, len(dict))
		for key, entry := range dict {
			v, err := entry.value(budget, depth+1)
			if err != nil {
				return nil, err
			}
			out[key] = v
		}
		return out, nil
	}
	var data []byte // before arrays: data is a slice too
	if l.into(&data) == nil && data != nil {
		return data, nil
	}
	var list []lazy
	if l.into(&list) == nil && list != nil {
		out := make([]any, 0, len(list))
		for _, entry := range list {
			v, err := entry.value(budget, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	var leaf any
	if err := l.into(&leaf); err != nil || leaf == nil {
		return nil, errMalformed
	}
	return leaf, nil
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
