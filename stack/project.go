package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"

	"minibot/hint"
	"minibot/secrets"
)

// LoadOptions says what to load.
type LoadOptions struct {
	File string
	// Env serves the compose file's variables, and nothing else does: neither the process environment nor a .env file.
	// Never put a secret in it: errors quote values.
	Env map[string]string
}

// cause is the error of a file operation without the name of the file.
func cause(err error) error {
	var operation *os.PathError
	if errors.As(err, &operation) {
		return operation.Err
	}
	return err
}

// Project is a loaded compose project. It does not change.
type Project struct {
	Name         string
	File         string                // absolute
	Services     map[string]Service    // without the keeper
	Requirements []secrets.Requirement // ordered by name

	rewritten *types.Project
	hash      string
}

// Service is one service of the project.
type Service struct {
	Name        string
	Container   string // container_name, or compose's own project-service-1
	Image       string
	DependsOn   []Dependency   // ordered by service
	Files       []File         // ordered by name
	Secrets     []secrets.Name // sorted, each once
	OnChange    string         // how a new secret is taken: "restart", "recreate", "signal", "exec", "openclaw" or "none"
	Signal      string         // with OnChange "signal"
	Exec        []string       // with OnChange "exec"
	Heal        string         // "restart" or "none"
	Healthcheck bool           // the compose file has one; an image may bring its own all the same
	StopGrace   time.Duration  // compose's default is 10 s
}

// Dependency is one entry of depends_on. Condition is "service_started", "service_healthy" or
// "service_completed_successfully".
type Dependency struct {
	Service           string
	Condition         string
	Required, Restart bool
}

// File is one secret as one service sees it, at /run/secrets/Name.
type File struct {
	Secret   secrets.Name
	Name     string
	UID, GID int
	Mode     int64 // permission bits
	// Connection is nil for a file that holds Secret's value and nothing else.
	Connection *Connection
}

const defaultStopGrace = 10 * time.Second

// Load reads a compose file and checks it. Its errors are [*LoadError], with the line where it can be told. It makes
// no call to the engine. The first load in a process takes some 50 ms, later ones about 5.
func Load(ctx context.Context, o LoadOptions) (*Project, error) {
	quietLibraries()
	file, err := filepath.Abs(o.File)
	if err != nil {
		return nil, &LoadError{File: o.File, Err: err}
	}
	if _, err := os.Stat(file); err != nil {
		return nil, hint.Wrap(&LoadError{File: file, Err: cause(err)}, "run `mb-secrets init`, or name the file in config.toml")
	}
	env := make([]string, 0, len(o.Env))
	for key, value := range o.Env {
		env = append(env, key+"="+value)
	}
	options, err := cli.NewProjectOptions([]string{file}, cli.WithEnv(env), cli.WithWorkingDirectory(filepath.Dir(file)),
		cli.WithLoadOptions(func(o *loader.Options) {
			if o.Interpolate != nil { // it is nil while only the file is read
				o.Interpolate.Substitute = substitute
			}
		}))
	if err != nil {
		return nil, locate(file, err)
	}
	loaded, err := options.LoadProject(ctx)
	if err != nil {
		return nil, locate(file, err)
	}
	loaded = loaded.WithoutUnresolvedOptionalDependencies()
	p := &Project{Name: loaded.Name, File: file, Services: map[string]Service{}, rewritten: loaded}
	if err := p.rewrite(); err != nil {
		return nil, locate(file, err)
	}
	p.hash, err = fingerprintProject(loaded)
	if err != nil {
		return nil, &LoadError{File: file, Err: err}
	}
	return p, nil
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

// Hash changes whenever the definition changes in a way that [Engine.Create] could have something to do about.
func (p *Project) Hash() string { return p.hash }

func fingerprintProject(p *types.Project) (string, error) {
	data, err := json.Marshal([]any{p.Name, p.WorkingDir, p.Services, p.Networks, p.Volumes, p.Configs})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// quietLibraries keeps compose's warnings off the daemon's stderr: what matters of them is checked here.
var quietLibraries = sync.OnceFunc(func() { logrus.SetOutput(io.Discard) })
