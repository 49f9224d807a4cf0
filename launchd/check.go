package launchd

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Check holds a property list against launchd.plist(5) and returns every fault, sorted by key: unknown keys, values of another
// type, values that the manual does not know, what is missing, and paths that launchd would not expand. It quotes no values.
// launchd itself ignores most of these faults silently, and then does not do what its author meant.
func Check(data []byte) []error {
	keys, err := decode(data)
	if err != nil {
		return []error{err}
	}
	var faults []error
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		want, known := keyTable[key]
		if !known {
			faults = append(faults, fmt.Errorf("key %s: launchd.plist(5) has no such key", printable(key)))
			continue
		}
		if err := checkShape(want, keys[key]); err != nil {
			faults = append(faults, fmt.Errorf("key %s: %w", key, err))
			continue
		}
		if err := checkValue(key, keys[key]); err != nil {
			faults = append(faults, fmt.Errorf("key %s: %w", key, err))
		}
	}
	if label, _ := keys["Label"].(string); label == "" {
		faults = append(faults, errors.New("key Label is missing or empty"))
	}
	program, _ := keys["Program"].(string)
	arguments, _ := keys["ProgramArguments"].([]any)
	if bundle, _ := keys["BundleProgram"].(string); program == "" && bundle == "" && len(arguments) == 0 {
		faults = append(faults, errors.New("neither Program nor ProgramArguments says what to run"))
	}
	return faults
}

// is tells whether a value is of the simple type that a shape of one word names.
func is(want shape, value any) bool {
	switch want {
	case aString, aPath:
		_, ok := value.(string)
		return ok
	case aBoolean:
		_, ok := value.(bool)
		return ok
	case anInteger:
		return kindOf(value) == "integer"
	case aDict:
		_, ok := value.(map[string]any)
		return ok
	}
	return false
}

// every tells whether all entries of a dictionary or an array pass.
func every(value any, pass func(any) bool) bool {
	fails := func(entry any) bool { return !pass(entry) }
	switch value := value.(type) {
	case map[string]any:
		return !slices.ContainsFunc(slices.Collect(maps.Values(value)), fails)
	case []any:
		return !slices.ContainsFunc(value, fails)
	}
	return false
}

func isArray(value any, of shape) bool {
	list, ok := value.([]any)
	return ok && every(list, func(entry any) bool { return is(of, entry) })
}

func isDict(value any, of ...shape) bool {
	dict, ok := value.(map[string]any)
	return ok && every(dict, func(entry any) bool {
		return slices.ContainsFunc(of, func(s shape) bool { return is(s, entry) })
	})
}

// checkShape reports a value that does not have the shape which the manual gives its key.
func checkShape(want shape, value any) error {
	var ok bool
	switch want {
	case stringArray:
		ok = isArray(value, aString)
	case stringOrArray:
		ok = is(aString, value) || isArray(value, aString)
	case stringDict:
		ok = isDict(value, aString)
	case integerDict:
		ok = isDict(value, anInteger)
	case booleanDict:
		ok = isDict(value, aBoolean)
	case boolOrDicts:
		ok = isDict(value, aBoolean, aDict)
	case integersOrSet:
		ok = isDict(value, anInteger)
		if list, isList := value.([]any); isList {
			ok = every(list, func(entry any) bool { return isDict(entry, anInteger) })
		}
	case dictOrArrays:
		dict, isADict := value.(map[string]any)
		ok = isADict && every(dict, func(entry any) bool { return is(aDict, entry) || isArray(entry, aDict) })
	case integerOrText:
		ok = is(anInteger, value) || is(aString, value)
	case keepAliveDict:
		return checkKeepAlive(value)
	default:
		ok = is(want, value)
	}
	if !ok {
		return fmt.Errorf("want %s, have %s", want, describe(value))
	}
	return nil
}

// describe names a value's type, with the types of its entries.
func describe(value any) string {
	kinds := map[string]bool{}
	switch value := value.(type) {
	case map[string]any:
		for _, entry := range value {
			kinds[kindOf(entry)] = true
		}
	case []any:
		for _, entry := range value {
			kinds[kindOf(entry)] = true
		}
	}
	if len(kinds) == 0 {
		return kindOf(value)
	}
	return kindOf(value) + " of " + strings.Join(slices.Sorted(maps.Keys(kinds)), " and ")
}

func checkKeepAlive(value any) error {
	if is(aBoolean, value) {
		return nil
	}
	dict, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("want %s, have %s", keepAliveDict, describe(value))
	}
	for _, key := range slices.Sorted(maps.Keys(dict)) {
		want, known := keepAliveTable[key]
		if !known {
			return fmt.Errorf("launchd.plist(5) has no such condition: %s", printable(key))
		}
		if err := checkShape(want, dict[key]); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

// checkValue reports a value of the right type that launchd does not take or does not mean as its author did.
func checkValue(key string, value any) error {
	if known := valueTable[key]; known != nil {
		list, isList := value.([]any)
		if !isList {
			list = []any{value}
		}
		if !every(list, func(entry any) bool { text, _ := entry.(string); return slices.Contains(known, text) }) {
			return fmt.Errorf("want one of %s", strings.Join(known, ", "))
		}
	}
	if text, ok := value.(string); ok && (keyTable[key] == aPath || key == "Program") {
		if err := checkPath(key, text); err != nil {
			return err
		}
	}
	switch key {
	case "ProgramArguments":
		if list, ok := value.([]any); ok && len(list) > 0 {
			text, _ := list[0].(string)
			return checkPath("Program", text)
		}
	case "Umask":
		return checkUmask(value)
	case "ExitTimeOut", "ThrottleInterval", "TimeOut", "StartInterval":
		if n, ok := value.(int64); ok && n < 0 {
			return errors.New("it is negative")
		}
	case "Nice":
		const least, most = -20, 20
		if n, ok := value.(int64); ok && (n < least || n > most) {
			return errors.New("it is not between -20 and 20")
		}
		if n, ok := value.(uint64); ok && n > most {
			return errors.New("it is not between -20 and 20")
		}
	}
	return nil
}

// checkPath reports what launchd would not expand. A program without a slash is looked for in PATH.
func checkPath(key, path string) error {
	switch {
	case strings.HasPrefix(path, "~"), strings.HasPrefix(path, "$"):
		return errors.New("launchd expands neither ~ nor $HOME")
	case key == "Program" && path != "" && !strings.Contains(path, "/"):
		return nil
	case !filepath.IsAbs(path):
		return errors.New("it is not an absolute path")
	}
	return nil
}

// checkUmask takes an integer, which is decimal (077 is 63), or a string, which newer systems read as octal.
func checkUmask(value any) error {
	const most = 0o777
	switch value := value.(type) {
	case uint64:
		if value <= most {
			return nil
		}
	case int64:
		if value >= 0 && value <= most {
			return nil
		}
	case string:
		if n, err := strconv.ParseUint(value, 8, 32); err == nil && n <= most {
			return nil
		}
	}
	return errors.New("it is not between 0 and 511 (octal 777)")
}
