// Package config is what a person configures: config.toml, and where the files of an installation lie.
//
// It owns the file's fields, their defaults and their validation, and the folders of a home. It guarantees that a
// wrong or unknown key is an error that names file, line and key, and never a silent default. It never holds a secret
// and never reads the environment beyond MINIBOT_HOME.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"minibot/hint"
)

// ErrInvalid is wrapped by what Load and Validate find wrong with a configuration.
var ErrInvalid = errors.New("invalid configuration")

// Config is config.toml.
type Config struct {
	Store       string            `toml:"store" comment:"where secrets are kept: age, keychain, security or secret-service; mb-secrets migrate changes it"`
	ComposeFile string            `toml:"compose_file" comment:"the compose file, relative to this folder"`
	DockerHost  string            `toml:"docker_host" comment:"the engine, like unix:///var/run/docker.sock; empty: found like docker does"`
	LogLevel    string            `toml:"log_level" comment:"debug, info, warn or error"`
	Exposure    string            `toml:"exposure" comment:"a compose file that passes secrets on in the clear is refused: refuse, or taken and shown in status: warn"`
	KeepAwake   bool              `toml:"keep_awake" comment:"macOS: the system does not go to sleep while minibotd runs and there is mains power"`
	Engine      Engine            `toml:"engine"`
	Log         Log               `toml:"log" comment:"the daemon's own log, minibotd.log, where stderr is launchd's file; elsewhere the log goes to stderr"`
	Notify      Notify            `toml:"notify" comment:"who is told of troubles; minibotd notify --test tries it. See docs/notify.md"`
	Env         map[string]string `toml:"env" comment:"what the compose file interpolates; never a secret. The last table, so that lines can be added at the end of the file"`
}

// Log bounds the daemon's own log.
type Log struct {
	MaxSizeMB  int  `toml:"max_size_mb" comment:"MiB after which a new file is begun: 1 to 1024"`
	MaxFiles   int  `toml:"max_files" comment:"older files that are kept: 1 to 100"`
	MaxAgeDays int  `toml:"max_age_days" comment:"days after which an older file goes: to 3650; 0 for never"`
	Compress   bool `toml:"compress" comment:"older files, with gzip"`
}

// Engine is how the container engine is treated.
type Engine struct {
	Start string `toml:"start" comment:"while no engine answers: off, or auto: minibotd starts Docker Desktop, OrbStack, Colima or a rootless engine"`
}

// What becomes of an engine that does not answer.
const (
	EngineStartOff  = "off"
	EngineStartAuto = "auto"
)

// Default is the configuration of a home without config.toml.
func Default() Config {
	return Config{Store: StoreAge, ComposeFile: "compose.yaml", LogLevel: "info", Exposure: ExposureRefuse,
		Log:       Log{MaxSizeMB: 10, MaxFiles: 5, MaxAgeDays: 30, Compress: true},
		KeepAwake: goos == darwin, Engine: Engine{Start: EngineStartOff}, Notify: defaultNotify(), Env: map[string]string{}}
}

// The kinds of stores. Which of them a machine has is for package stores to say.
const (
	StoreAge           = "age"            // a file encrypted with age
	StoreKeychain      = "keychain"       // the macOS Keychain
	StoreSecurity      = "security"       // the macOS Keychain through its program security
	StoreSecretService = "secret-service" // the keyring of a Linux session
)

// What becomes of a compose file that passes secrets on in the clear.
const (
	ExposureRefuse = "refuse"
	ExposureWarn   = "warn"
)

// Stores lists the kinds of stores.
var Stores = []string{StoreAge, StoreKeychain, StoreSecurity, StoreSecretService}

const darwin = "darwin"

// goos is the system. Tests of the daemon link another one in, to have a Mac's folders and defaults.
var goos = runtime.GOOS

var (
	variable  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	logLevels = map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
)

// Load reads home's config.toml over the defaults and validates it. Without the file it returns the defaults.
// Every fault of the file is in the error, which wraps ErrInvalid.
func Load(home string) (Config, error) {
	paths, err := NewPaths(home)
	if err != nil {
		return Config{}, err
	}
	info, err := os.Stat(paths.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err == nil && !info.Mode().IsRegular() { // a FIFO would be waited for
		return Config{}, hint.Wrap(fmt.Errorf("%w: %s is no file", ErrInvalid, paths.Config), "move it away: `mv %s %s`", hint.Word(paths.Config), hint.Word(paths.Config+".away"))
	}
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	text, err := os.ReadFile(paths.Config)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return parse(paths.Config, string(text))
}

// parse reads the text of the file at path over the defaults.
func parse(path, text string) (Config, error) {
	c := Default()
	err := toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields().Decode(&c)
	if err != nil {
		return Config{}, hint.Wrap(explain(path, err), "mend %s", path)
	}
	if c.Env == nil {
		c.Env = map[string]string{}
	}
	if err := c.Validate(); err != nil {
		return Config{}, hint.Wrap(fmt.Errorf("%s: %w", path, err), "mend %s", path)
	}
	return c, nil
}

// explain says of each fault where it stands. It never quotes the file.
func explain(path string, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var faults []error
		for _, e := range strict.Errors {
			line, _ := e.Position()
			faults = append(faults, fmt.Errorf("%w: %s:%d: unknown key %s", ErrInvalid, path, line, strings.Join(e.Key(), ".")))
		}
		return errors.Join(faults...)
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, column := decode.Position()
		what := strings.TrimPrefix(decode.Error(), "toml: ")
		if key := strings.Join(decode.Key(), "."); key != "" {
			what = key + ": " + what
		}
		return fmt.Errorf("%w: %s:%d:%d: %s", ErrInvalid, path, line, column, what)
	}
	return fmt.Errorf("%w: %s: %w", ErrInvalid, path, err)
}

// Validate returns every fault, each with the key it is in, wrapping ErrInvalid.
func (c Config) Validate() error { return c.validate(goos) }

func (c Config) validate(goos string) error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: %s: %s", ErrInvalid, key, fmt.Sprintf(format, args...)))
	}
	if !slices.Contains(Stores, c.Store) {
		fault("store", "unknown store %q, want one of %s", c.Store, strings.Join(Stores, ", "))
	}
	if c.ComposeFile == "" || strings.ContainsRune(c.ComposeFile, 0) {
		fault("compose_file", "want a file")
	}
	if c.DockerHost != "" {
		u, err := url.Parse(c.DockerHost)
		socket := err == nil && u.Scheme == "unix" && filepath.IsAbs(u.Path) && u.Host == ""
		if tcp := err == nil && u.Scheme == "tcp" && u.Host != ""; !socket && !tcp {
			fault("docker_host", "want unix:///PATH or tcp://HOST:PORT")
		}
	}
	if _, ok := logLevels[c.LogLevel]; !ok {
		fault("log_level", "unknown level %q, want debug, info, warn or error", c.LogLevel)
	}
	if c.Exposure != ExposureRefuse && c.Exposure != ExposureWarn {
		fault("exposure", "unknown value %q, want %s or %s", c.Exposure, ExposureRefuse, ExposureWarn)
	}
	if c.KeepAwake && goos != darwin {
		fault("keep_awake", "only on macOS")
	}
	if c.Engine.Start != EngineStartOff && c.Engine.Start != EngineStartAuto {
		fault("engine.start", "unknown value %q, want %s or %s", c.Engine.Start, EngineStartOff, EngineStartAuto)
	}
	for _, n := range [...]struct {
		key               string
		have, least, most int
	}{{"max_size_mb", c.Log.MaxSizeMB, 1, 1024}, {"max_files", c.Log.MaxFiles, 1, 100}, {"max_age_days", c.Log.MaxAgeDays, 0, 3650}} {
		if n.have < n.least || n.have > n.most {
			fault("log."+n.key, "%d is not between %d and %d", n.have, n.least, n.most)
		}
	}
	c.Notify.validate(fault)
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		if !variable.MatchString(name) {
			fault("env", "%q is no name of a variable", name)
		}
		if strings.ContainsRune(c.Env[name], 0) {
			fault("env."+name, "the value holds a NUL byte")
		}
	}
	return errors.Join(faults...)
}

// Level is LogLevel as slog knows it; an invalid one is slog.LevelInfo.
func (c Config) Level() slog.Level { return logLevels[c.LogLevel] }

// Write puts c into the file at path, mode 0600, in place of what is there. A crash leaves the old file or the new one.
func Write(path string, c Config) (err error) {
	if err := c.Validate(); err != nil {
		return err
	}
	text, err := toml.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	if err := ReplaceFile(path, text); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
