package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"

	"minibot/hint"
	"minibot/secrets"
)

// LoadOptions says what to load.
type LoadOptions struct {
	File string
	// Env serves the compose file's variables, and nothing else does: neither the process environment nor a .env file.
	// Never put a secret in it: errors quote values.
	Env map[string]string
	// AllowExposed has Load take a file that passes required secrets on in the clear. Such a project holds values. Without it,
	// every such place is an error.
	AllowExposed bool
	// Exposed returns the values of the secrets that are passed on; one that is not set is left out, or zero. Without it, and for
	// what is left out, a word that says so stands in: what has it must not be started.
	Exposed func(ctx context.Context, names []secrets.Name) (map[secrets.Name]secrets.Value, error)
}

// Load reads a compose file and checks it. Its errors are [*LoadError], with the line where it can be told; they quote no
// value of Exposed. It makes no call to the engine. The first load in a process takes some 50 ms, later ones about 10.
func Load(ctx context.Context, o LoadOptions) (*Project, error) {
	quietLibraries()
	file, err := filepath.Abs(o.File)
	if err != nil {
		return nil, &LoadError{File: o.File, Err: err}
	}
	if _, err := os.Stat(file); err != nil {
		return nil, hint.Wrap(&LoadError{File: file, Err: cause(err)}, "run `mb-secrets init`, or name the file in config.toml")
	}
	from, err := readSources(file, o.Env)
	if err != nil {
		return nil, err
	}
	exposures, err := lint(ctx, file, from)
	switch {
	case err != nil:
		return nil, err
	case len(exposures) == 0:
		return build(ctx, file, o.Env, nil)
	case !o.AllowExposed:
		return nil, refused(exposures)
	}
	return loadExposed(ctx, file, o, exposures)
}

// refused is the error of a file that passes secrets on; it names every place.
func refused(exposures []Finding) error {
	first := exposures[0]
	text := first.Message
	for _, f := range exposures[1:] {
		text += "\n" + f.String()
	}
	return hint.Wrap(&LoadError{File: first.File, Line: first.Line, Path: first.Path, Err: errors.New(text)},
		"mend the file; `minibotd check` shows the places again. With exposure = \"warn\" in config.toml it is taken as it is: see docs/compose.md")
}

// loadExposed loads a file that passes secrets on: first with words in place of the values, so that what is wrong with the
// file itself is said by an error that can quote none, then with the values.
func loadExposed(ctx context.Context, file string, o LoadOptions, exposures []Finding) (*Project, error) {
	var names []secrets.Name
	words := maps.Clone(o.Env)
	if words == nil {
		words = map[string]string{}
	}
	for _, f := range exposures {
		if !slices.Contains(names, f.Secret) {
			names = append(names, f.Secret)
			words[string(f.Secret)] = notSet(f.Secret)
		}
	}
	slices.Sort(names)
	p, err := build(ctx, file, words, exposures)
	if err != nil || o.Exposed == nil {
		return p, err
	}
	values, err := o.Exposed(ctx, names)
	if err != nil {
		return nil, &LoadError{File: file, Err: fmt.Errorf("read the secrets that the file passes on: %w", err)}
	}
	if err := checkSet(exposures, values); err != nil {
		return nil, err
	}
	env := maps.Clone(words)
	for name, value := range values {
		if slices.Contains(names, name) && !value.IsZero() {
			env[string(name)] = string(value.Reveal())
		}
	}
	filled, err := build(ctx, file, env, exposures)
	if err != nil { // what Compose says may quote a value, or a part of one
		return nil, hint.Wrap(&LoadError{File: exposures[0].File, Line: exposures[0].Line, Path: exposures[0].Path,
			Err: fmt.Errorf("the file loads, but not with the values of %s in it", join(names))},
			"a value has characters that mean something there; `minibotd check` shows the places")
	}
	filled.shape = p.hash
	return filled, nil
}

// notSet stands for a value that is not set. It goes into names of images and networks, too.
func notSet(name secrets.Name) string {
	return strings.ToLower(strings.ReplaceAll(string(name), "_", "-")) + "-is-not-set"
}

// checkSet makes sure of the values that are passed on outside of services: a service without its value is held back, but
// a network or the project itself cannot be.
func checkSet(exposures []Finding, values map[secrets.Name]secrets.Value) error {
	for _, f := range exposures {
		part, _, _ := strings.Cut(f.Path, ".")
		if f.Service == "" && part != "configs" && !strings.HasPrefix(part, "x-") && values[f.Secret].IsZero() {
			return hint.Wrap(&LoadError{File: f.File, Line: f.Line, Path: f.Path, Err: fmt.Errorf("%s is not set, and the file passes it on here", f.Secret)},
				"stop minibotd, run `mb-secrets set %s`, start minibotd again", f.Secret)
		}
	}
	return nil
}

func join(names []secrets.Name) string {
	var list []string
	for _, n := range names {
		list = append(list, string(n))
	}
	return strings.Join(list, ", ")
}

// build loads the file with the given variables.
func build(ctx context.Context, file string, env map[string]string, exposures []Finding) (*Project, error) {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithEnv(environ(env)), cli.WithWorkingDirectory(filepath.Dir(file)),
		cli.WithLoadOptions(func(o *loader.Options) {
			if o.Interpolate != nil { // it is nil while only the file is read
				o.Interpolate.Substitute = substitute
			}
			o.SkipResolveEnvironment, o.SkipResolveLabels = true, true
		}))
	if err != nil {
		return nil, locate(file, err)
	}
	loaded, err := guarded(func() (*types.Project, error) {
		loaded, err := options.LoadProject(ctx)
		if err != nil {
			return nil, err
		}
		return resolveFiles(loaded)
	})
	if err != nil {
		return nil, locate(file, err)
	}
	loaded = loaded.WithoutUnresolvedOptionalDependencies()
	p := &Project{Name: loaded.Name, File: file, Services: map[string]Service{}, Exposures: exposures, rewritten: loaded}
	if err := p.rewrite(); err != nil {
		return nil, locate(file, err)
	}
	for _, f := range exposures { // what needs them has them
		delete(loaded.Environment, string(f.Secret))
	}
	p.hash, err = fingerprintProject(loaded)
	if err != nil {
		return nil, &LoadError{File: file, Err: err}
	}
	p.shape = p.hash
	return p, nil
}

func environ(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for key, value := range env {
		list = append(list, key+"="+value)
	}
	return list
}

// resolveFiles reads the env_file and label_file of all services, each of a bounded size.
func resolveFiles(p *types.Project) (*types.Project, error) {
	check := func(file string, at ...string) error {
		if _, err := readBounded(file); err != nil && !errors.Is(err, os.ErrNotExist) { // Compose knows whether it may be missing
			return &fault{path: at, err: fmt.Errorf("%s: %w", file, cause(err))}
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		for _, f := range p.Services[name].EnvFiles {
			if err := check(f.Path, "services", name, "env_file"); err != nil {
				return nil, err
			}
		}
		for _, f := range p.Services[name].LabelFiles {
			if err := check(f, "services", name, "label_file"); err != nil {
				return nil, err
			}
		}
	}
	p, err := p.WithServicesEnvironmentResolved(false)
	if err == nil {
		p, err = p.WithServicesLabelsResolved(false)
	}
	if err != nil {
		return nil, withoutQuote(err)
	}
	return p, nil
}

// readFailure is how Compose's message of an env_file begins. What follows quotes the file, whose lines are values.
var readFailure = regexp.MustCompile(`^failed to read .*?: line \d+`)

func withoutQuote(err error) error {
	text := err.Error()
	if begin := readFailure.FindString(text); begin != "" {
		return errors.New(begin + " is not NAME=VALUE")
	}
	if strings.HasPrefix(text, "failed to read") {
		return errors.New("an env_file or a label_file cannot be read: a line of it is not NAME=VALUE")
	}
	return err
}

// substitute replaces a text's variables. Compose makes an unset one a blank and warns; here it is an error, because a
// blank password or image is never meant.
func substitute(text string, mapping template.Mapping) (string, error) {
	return template.SubstituteWithOptions(text, mapping, template.WithoutLogging, template.WithReplacementFunction(
		func(variable string, mapping template.Mapping, c *template.Config) (string, error) {
			value, set, err := template.DefaultReplacementAppliedFunc(variable, mapping, c)
			if err == nil && !set {
				err = fmt.Errorf("%w: %s", errUnset, variable)
			}
			return value, err
		}))
}

var errUnset = errors.New("variable is not set")
