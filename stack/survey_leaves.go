package stack

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// leaves visits each string of a JSON document, and each key.
func (s *survey) leaves(of Exhibit, raw []byte) error {
	var document any
	if err := json.Unmarshal(raw, &document); err != nil {
		of.Err = fmt.Errorf("the engine's answer is no JSON: %w", err)
		return s.visit(of)
	}
	return s.leaf(of, document)
}

func (s *survey) leaf(of Exhibit, value any) error {
	switch v := value.(type) {
	case string:
		of.Body = strings.NewReader(v)
		return s.visit(of)
	case []any:
		for i, item := range v {
			at := of
			at.Part = fmt.Sprintf("%s[%d]", of.Part, i)
			if err := s.leaf(at, item); err != nil {
				return err
			}
		}
	case map[string]any:
		for i, key := range slices.Sorted(maps.Keys(v)) {
			at := of
			at.Part = fmt.Sprintf("%s key %d", of.Part, i+1) // not the key itself: it may be what leaked
			at.Body = strings.NewReader(key)
			if err := s.visit(at); err != nil {
				return err
			}
			at.Part, at.Body = of.Part+step(key, of.Part == ""), nil
			if err := s.leaf(at, v[key]); err != nil {
				return err
			}
		}
	}
	return nil // numbers and truth values are nobody's secret
}

// step is how a key stands in a path: Config.Env, Config.Labels["a.b"].
func step(key string, first bool) string {
	if key == "" || strings.ContainsFunc(key, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return fmt.Sprintf("[%q]", key)
	}
	if first {
		return key
	}
	return "." + key
}
