package stack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"

	"minibot/secrets"
)

// Lint finds every place of a compose file, and of what it includes, extends and names as env_file, at which a required
// secret is interpolated or passed on: known by its variable or its key below `secrets:`, and each place once. It looks at
// the text with nothing interpolated, and at what becomes of placeholders; either sees what the other misses. What
// cannot be loaded is searched as far as it can be read. It reads nothing but these files, each of at most 1 MiB. The
// error, a [*LoadError], says that the file is not there or is beyond the bounds of a compose file.
func Lint(ctx context.Context, o LoadOptions) ([]Finding, error) {
	quietLibraries()
	file, err := filepath.Abs(o.File)
	if err != nil {
		return nil, &LoadError{File: o.File, Err: err}
	}
	from, err := readSources(file, o.Env)
	if err != nil {
		return nil, err
	}
	return lint(ctx, file, from)
}

// maxFindings is how many places are told at most: nobody reads more, and each is compared with the others.
const maxFindings = 1000

// target is one required secret.
type target struct {
	name secrets.Name
	key  string // below `secrets:`
}

// linter looks for targets.
type linter struct {
	file         string
	from         *sources
	targets      []target
	placeholders map[string]secrets.Name
	found        []mention
}

// mention is a place at which a secret is mentioned.
type mention struct {
	Finding
	weak bool   // only if Compose merges it into a service
	at   string // of an env_file: what it says where
}

func lint(ctx context.Context, file string, from *sources) ([]Finding, error) {
	l := &linter{file: file, from: from}
	// An error of Compose's is the load's to report: what can be read is searched all the same. Where its library breaks
	// down, nobody can tell what it would have read.
	model, err := l.model(ctx, nil)
	if errors.Is(err, errPanic) {
		return nil, locate(l.file, err)
	}
	l.targets = l.required(model)
	if len(l.targets) == 0 {
		return nil, nil
	}
	env, err := l.hold()
	if err != nil {
		return nil, locate(l.file, err)
	}
	filled, err := l.model(ctx, env)
	if errors.Is(err, errPanic) {
		return nil, locate(l.file, err)
	}
	l.searchModel(model, l.mentioned)
	l.searchModel(filled, l.held)
	for _, m := range []map[string]any{filled, model} {
		l.searchEnvFiles(l.envFiles(m))
	}
	l.searchEnvFiles(from.envFiles)
	if err := ctx.Err(); err != nil {
		return nil, &LoadError{File: l.file, Err: err}
	}
	return l.place(l.inSources()), nil
}

// model is what Compose makes of the file: with nothing interpolated, or with the values of env.
func (l *linter) model(ctx context.Context, env map[string]string) (map[string]any, error) {
	details := types.ConfigDetails{WorkingDir: filepath.Dir(l.file), ConfigFiles: types.ToConfigFiles([]string{l.file}), Environment: maps.Clone(env)}
	return guarded(func() (map[string]any, error) {
		return loader.LoadModelWithContext(ctx, details, func(o *loader.Options) {
			o.SkipInterpolation = env == nil
			o.SkipNormalization, o.SkipConsistencyCheck, o.SkipValidation = true, true, true
			o.Interpolate.Substitute = lenient
		})
	})
}

// lenient takes a variable that is not set for a blank, and leaves what is no template as it is: both are the load's to refuse.
func lenient(text string, mapping template.Mapping) (string, error) {
	replaced, err := template.SubstituteWithOptions(text, mapping, template.WithoutLogging)
	if err != nil {
		return text, nil //nolint:nilerr // the load refuses it
	}
	return replaced, nil
}

// required are the secrets with `environment: NAME`, in the model and in the files themselves.
func (l *linter) required(model map[string]any) []target {
	var targets []target
	add := func(key, name string) {
		name, err := l.from.substitute(name)
		if err != nil {
			return
		}
		t := target{secrets.Name(name), key}
		if _, err := secrets.ParseName(name); err == nil && !slices.Contains(targets, t) {
			targets = append(targets, t)
		}
	}
	declared, _ := model["secrets"].(map[string]any)
	for key, value := range declared {
		config, _ := value.(map[string]any)
		if name, ok := config["environment"].(string); ok {
			add(key, name)
		}
	}
	for _, s := range l.from.list {
		for _, root := range s.documents {
			_, section := child(root, "secrets")
			section = resolve(section)
			for i, value := range values(section) {
				_, name := child(value, "environment")
				if name = resolve(name); name != nil {
					add(section.Content[2*i].Value, name.Value)
				}
			}
		}
	}
	slices.SortFunc(targets, func(a, b target) int { return strings.Compare(string(a.name)+" "+a.key, string(b.name)+" "+b.key) })
	return targets
}

// hold makes a placeholder for each secret, and returns the variables of the file with them.
func (l *linter) hold() (map[string]string, error) {
	mark := make([]byte, 8)
	if _, err := rand.Read(mark); err != nil {
		return nil, err
	}
	l.placeholders = map[string]secrets.Name{}
	env := map[string]string{}
	for name, value := range l.from.env {
		env[name] = value
	}
	for i, t := range l.targets {
		p := "x" + hex.EncodeToString(mark) + "x" + strconv.Itoa(i) + "x" // fit for names of images and containers, too
		l.placeholders[p] = t.name
		env[string(t.name)] = p
		if _, set := env[t.key]; !set {
			env[t.key] = p
		}
	}
	return env, nil
}

// known is the secret that a variable stands for.
func (l *linter) known(variable string) (secrets.Name, bool) {
	for _, t := range l.targets {
		if variable == string(t.name) {
			return t.name, true
		}
	}
	if _, other := l.from.env[variable]; other { // [env] has a variable of that name
		return "", false
	}
	for _, t := range l.targets {
		if variable == t.key {
			return t.name, true
		}
	}
	return "", false
}

// key is the name of a secret's file.
func (l *linter) key(name secrets.Name) string {
	for _, t := range l.targets {
		if t.name == name {
			return t.key
		}
	}
	return string(name)
}

// mentioned are the secrets that a text has as variables.
func (l *linter) mentioned(text string) []secrets.Name {
	var names []secrets.Name
	if !strings.Contains(text, "$") {
		return nil
	}
	for variable := range template.ExtractVariables(map[string]any{"": text}, nil) {
		if name, ok := l.known(variable); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// held are the secrets whose placeholders a text has.
func (l *linter) held(text string) []secrets.Name {
	var names []secrets.Name
	for p, name := range l.placeholders {
		if strings.Contains(text, p) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// searchModel adds what secretsIn finds in the model's texts, and what is passed on by its name alone.
func (l *linter) searchModel(model map[string]any, secretsIn func(string) []secrets.Name) {
	configs, _ := model["configs"].(map[string]any)
	walk(model, nil, func(steps []string, value any) {
		n := len(steps)
		if n == 3 && steps[0] == "secrets" && (steps[2] == "environment" || steps[2] == types.SecretConfigXValue) {
			return // where it belongs
		}
		if n == 3 && steps[0] == "configs" && steps[2] == "content" {
			if config, _ := configs[steps[1]].(map[string]any); config["environment"] != nil {
				return // made of that
			}
		}
		text, _ := value.(string)
		for _, name := range append(secretsIn(text), secretsIn(steps[n-1])...) {
			l.add(mention{Finding: Finding{Secret: name, steps: l.blank(l.named(steps, text))}})
		}
		if variable, ok := passedOn(steps, text, value == nil); ok {
			if name, known := l.known(variable); known {
				l.add(mention{Finding: Finding{Secret: name, steps: l.named(steps, variable)}})
			}
		}
	})
}

var bareVariable = regexp.MustCompile(`\$([A-Za-z_][A-Za-z0-9_]*)`)

// blank writes the variables for their placeholders, and all in one way.
func (l *linter) blank(steps []string) []string {
	steps = slices.Clone(steps)
	for i := range steps {
		steps[i] = bareVariable.ReplaceAllString(steps[i], "$${$1}")
		for p, name := range l.placeholders {
			steps[i] = strings.ReplaceAll(steps[i], p, "${"+string(name)+"}")
		}
	}
	return steps
}

// add notes a mention unless it is known, perhaps with more of its path.
func (l *linter) add(m mention) {
	if len(l.found) == maxFindings {
		return
	}
	m.steps = slices.Clone(m.steps)
	for i, other := range l.found {
		if other.Secret != m.Secret || other.at != m.at {
			continue
		}
		if isPrefix(m.steps, other.steps) {
			return
		}
		if isPrefix(other.steps, m.steps) {
			l.found[i] = m
			return
		}
	}
	l.found = append(l.found, m)
}

func isPrefix(short, long []string) bool {
	return len(short) <= len(long) && slices.Equal(short, long[:len(short)])
}

// walk visits every value of a model in the order of its keys, mappings and lists before what is in them.
func walk(value any, steps []string, visit func(steps []string, value any)) {
	if len(steps) > 0 {
		visit(steps, value)
	}
	switch value := value.(type) {
	case map[string]any:
		keys := make([]string, 0, len(value))
		for key := range value {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			walk(value[key], append(slices.Clip(steps), key), visit)
		}
	case []any:
		for i, item := range value {
			walk(item, append(slices.Clip(steps), strconv.Itoa(i)), visit)
		}
	}
}

// passedOn returns the variable whose value Compose puts at a place that only names it.
func passedOn(steps []string, text string, null bool) (variable string, ok bool) {
	n := len(steps)
	if n == 3 && steps[0] == "configs" && steps[2] == "environment" {
		return text, true
	}
	if n < 2 || steps[0] != "services" && steps[0] != "jobs" {
		return "", false
	}
	if list := steps[n-2]; (list != "environment" || n != 4) && (list != "args" || n != 5 || steps[2] != "build") {
		return "", false
	}
	if null {
		return steps[n-1], true
	}
	_, err := strconv.Atoi(steps[n-1])
	return text, err == nil && !strings.Contains(text, "=")
}

var listedName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// named puts the variable's name in place of the index in a list of KEY=VALUE.
func (l *linter) named(steps []string, text string) []string {
	n := len(steps)
	if n < 2 || !slices.Contains([]string{"environment", "args", "labels", "annotations"}, steps[n-2]) {
		return steps
	}
	name, _, _ := strings.Cut(text, "=")
	if _, err := strconv.Atoi(steps[n-1]); err != nil || !listedName.MatchString(name) || len(l.held(name)) > 0 {
		return steps
	}
	return append(slices.Clone(steps[:n-1]), name)
}
