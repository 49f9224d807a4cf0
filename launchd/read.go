package launchd

import (
	"fmt"
	"maps"
	"slices"
)

// Definition is what a LaunchAgent's property list says, as far as minibot needs it. A key that is absent is a zero value.
type Definition struct {
	Label       string
	Program     string   // Program, or else the first of ProgramArguments; it need not be absolute
	Arguments   []string // what follows the program's name
	Environment map[string]string

	WorkingDirectory                   string
	StandardOutPath, StandardErrorPath string

	RunAtLoad    bool
	KeepAlive    bool     // true, or conditions under which it is kept alive
	SessionTypes []string // LimitLoadToSessionType; none means Aqua
	Disabled     bool     // the key of the file; what launchctl keeps goes before it
}

// Read decodes the property list of any LaunchAgent in XML; a binary one is an error with a hint. It ignores keys it has no use for and does not check more
// than the types of the others: see [Check]. Errors quote nothing of the file.
func Read(data []byte) (Definition, error) {
	keys, err := decode(data)
	if err != nil {
		return Definition{}, fmt.Errorf("read the property list: %w", err)
	}
	r := reader{keys: keys}
	d := Definition{
		Label:             r.text("Label"),
		Program:           r.text("Program"),
		Environment:       r.texts("EnvironmentVariables"),
		WorkingDirectory:  r.text("WorkingDirectory"),
		StandardOutPath:   r.text("StandardOutPath"),
		StandardErrorPath: r.text("StandardErrorPath"),
		RunAtLoad:         r.boolean("RunAtLoad"),
		KeepAlive:         r.keepAlive(),
		SessionTypes:      r.list("LimitLoadToSessionType"),
		Disabled:          r.boolean("Disabled"),
	}
	if arguments := r.list("ProgramArguments"); len(arguments) > 0 {
		if d.Program == "" {
			d.Program = arguments[0]
		}
		d.Arguments = arguments[1:]
	}
	if r.err != nil {
		return Definition{}, fmt.Errorf("read the property list: %w", r.err)
	}
	return d, nil
}

// reader takes values out of a dictionary and keeps the first fault.
type reader struct {
	keys map[string]any
	err  error
}

func (r *reader) wrong(key, want string, have any) {
	if r.err == nil {
		r.err = fmt.Errorf("key %s: want %s, have %s", key, want, kindOf(have))
	}
}

func (r *reader) text(key string) string {
	text, ok := r.keys[key].(string)
	if value, present := r.keys[key]; present && !ok {
		r.wrong(key, "string", value)
	}
	return text
}

func (r *reader) boolean(key string) bool {
	flag, ok := r.keys[key].(bool)
	if value, present := r.keys[key]; present && !ok {
		r.wrong(key, "boolean", value)
	}
	return flag
}

// list returns an array of strings; a single string is an array of one.
func (r *reader) list(key string) []string {
	switch value := r.keys[key].(type) {
	case nil:
		return nil
	case string:
		return []string{value}
	case []any:
		out := make([]string, 0, len(value))
		for _, entry := range value {
			text, ok := entry.(string)
			if !ok {
				r.wrong(key, "array of strings", entry)
				return nil
			}
			out = append(out, text)
		}
		return out
	default:
		r.wrong(key, "array of strings", value)
		return nil
	}
}

// texts returns a dictionary of strings.
func (r *reader) texts(key string) map[string]string {
	value, present := r.keys[key]
	if !present {
		return nil
	}
	dict, ok := value.(map[string]any)
	if !ok {
		r.wrong(key, "dictionary of strings", value)
		return nil
	}
	out := make(map[string]string, len(dict))
	for _, name := range slices.Sorted(maps.Keys(dict)) {
		text, ok := dict[name].(string)
		if !ok {
			r.wrong(key, "dictionary of strings", dict[name])
			return nil
		}
		out[name] = text
	}
	return out
}

func (r *reader) keepAlive() bool {
	switch value := r.keys["KeepAlive"].(type) {
	case nil:
		return false
	case bool:
		return value
	case map[string]any:
		return len(value) > 0
	default:
		r.wrong("KeepAlive", "boolean or dictionary", value)
		return false
	}
}
