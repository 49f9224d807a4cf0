package launchd

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Differences compares two property lists key by key and says in words what have has otherwise than want, such as "Umask is
// missing", "Nice is not minibot's" or "EnvironmentVariables.PATH has another value", sorted by key. It quotes no values: the
// variables of somebody's agent may be secrets. Formats, comments and the order of keys are no differences.
func Differences(have, want []byte) ([]string, error) {
	haveKeys, err := decode(have)
	if err != nil {
		return nil, fmt.Errorf("compare property lists: %w", err)
	}
	wantKeys, err := decode(want)
	if err != nil {
		return nil, fmt.Errorf("compare property lists: %w", err)
	}
	return differences("", haveKeys, wantKeys), nil
}

func differences(prefix string, have, want map[string]any) []string {
	var out []string
	all := map[string]bool{}
	for key := range have {
		all[key] = true
	}
	for key := range want {
		all[key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		haveValue, isThere := have[key]
		wantValue, isWanted := want[key]
		haveDict, haveIsDict := haveValue.(map[string]any)
		wantDict, wantIsDict := wantValue.(map[string]any)
		name := prefix + printable(key)
		switch {
		case !isThere:
			out = append(out, name+" is missing")
		case !isWanted:
			out = append(out, name+" is not minibot's")
		case haveIsDict && wantIsDict:
			out = append(out, differences(name+".", haveDict, wantDict)...)
		case !reflect.DeepEqual(plain(haveValue), plain(wantValue)):
			out = append(out, name+" has another value")
		}
	}
	return out
}

// plain makes integers of one value equal, whatever their sign bit says about how they were written.
func plain(value any) any {
	if n, ok := value.(int64); ok && n >= 0 {
		return uint64(n)
	}
	return value
}

// printable returns a key for a message: quoted when a terminal would obey it, and never long.
func printable(key string) string {
	const longest = 64
	if len(key) > longest {
		key = key[:longest] + "…"
	}
	quoted := fmt.Sprintf("%+q", key)
	if inner := quoted[1 : len(quoted)-1]; inner == key {
		return key
	}
	return quoted
}
