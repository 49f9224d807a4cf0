package stack

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// The products that put their socket into a user's home; [Candidate].Product.
const (
	DockerDesktop  = "Docker Desktop"
	OrbStack       = "OrbStack"
	Colima         = "Colima"
	RootlessDocker = "rootless Docker"
)

// systemSocket is how the place that all users share is called; it may be any product's, and another user's.
const systemSocket = "the system's socket"

// Candidate is a place where an engine may listen.
type Candidate struct {
	Host    string // unix:///… or tcp://…; "" where that could not be found out
	From    string // who named it: "DOCKER_HOST", `the current context "colima"`, "OrbStack", …
	Chosen  bool   // a person named it: no other place is asked
	Product string // whose place it is: DockerDesktop, …; "" for the system's socket and for any other
	Profile string // of Colima
	Answer  Answer // what Candidates found there
	Err     error  // why it cannot be used; nil where it can, and before it was asked
	Version string // of the engine that answers

	tlsDir string // ca.pem, cert.pem, key.pem; "" for none
}

// surroundings is what the search for the engine reads; tests give their own.
type surroundings struct {
	getenv func(string) string
	home   string
	system string // where the system-wide socket is
	goos   string
	uid    int // whose process this is
}

func realSurroundings() (surroundings, error) {
	home, err := os.UserHomeDir()
	return surroundings{getenv: os.Getenv, home: home, system: "/var/run/docker.sock", goos: runtime.GOOS, uid: os.Getuid()}, err
}

// candidates lists where the engine may be, best first: what host names (a flag or the configuration), DOCKER_HOST,
// DOCKER_CONTEXT and the current context are a person's choice and stand alone; without one, the known sockets follow each
// other, the user's own before the system's, which may lead to another user's engine.
func (s surroundings) candidates(host string) []Candidate {
	known := s.known()
	chosen, ok := s.chosen(host)
	if !ok {
		return known
	}
	chosen.Chosen = true
	socket := strings.TrimPrefix(chosen.Host, "unix://")
	if target, err := os.Readlink(socket); err == nil { // as Docker Desktop makes the system's socket lead to its own
		socket = target
	}
	for _, c := range known { // what a person named may be a place of a known product
		if c.Host == "unix://"+socket {
			chosen.Product, chosen.Profile = c.Product, c.Profile
		}
	}
	return []Candidate{chosen.checked()}
}

// chosen returns what a person named, if anything.
func (s surroundings) chosen(host string) (Candidate, bool) {
	if host != "" {
		return Candidate{Host: host, From: "docker_host or --docker-host"}, true
	}
	if host := s.getenv("DOCKER_HOST"); host != "" {
		c := Candidate{Host: host, From: "DOCKER_HOST"}
		if s.getenv("DOCKER_TLS_VERIFY") != "" {
			c.tlsDir = cmp.Or(s.getenv("DOCKER_CERT_PATH"), s.configDir())
		}
		return c, true
	}
	name, from := s.getenv("DOCKER_CONTEXT"), "DOCKER_CONTEXT"
	if name == "" {
		var err error
		if name, err = s.currentContext(); err != nil {
			return Candidate{From: "config.json", Err: err}, true
		}
		from = "the current context"
	}
	if name == "" || name == "default" {
		return Candidate{}, false
	}
	return s.context(name, from), true
}

// known lists the sockets of the known products. Of Colima's profiles the default one comes first, and those others
// that have a socket.
func (s surroundings) known() []Candidate {
	place := func(product string, path ...string) Candidate {
		return Candidate{Host: "unix://" + filepath.Join(path...), From: product, Product: product}
	}
	list := []Candidate{place(DockerDesktop, s.home, ".docker/run/docker.sock")}
	if s.goos != "darwin" {
		list = []Candidate{place(DockerDesktop, s.home, ".docker/desktop/docker.sock")}
		run := s.getenv("XDG_RUNTIME_DIR")
		if run == "" {
			run = filepath.Join(s.home, ".docker/run")
		}
		list = append(list, place(RootlessDocker, run, "docker.sock"))
	} else {
		list = append(list, place(OrbStack, s.home, ".orbstack/run/docker.sock"))
	}
	colima := s.colimaHome()
	list = append(list, place(Colima, colima, "default/docker.sock"))
	others, err := filepath.Glob(filepath.Join(colima, "*/docker.sock"))
	if err != nil { // a home with a bracket in it
		others = nil
	}
	for _, socket := range others {
		c := place(Colima, socket)
		if c.Profile = filepath.Base(filepath.Dir(socket)); c.Profile != "default" {
			c.From = fmt.Sprintf("%s %q", Colima, c.Profile)
			list = append(list, c)
		}
	}
	return append(list, Candidate{Host: "unix://" + s.system, From: systemSocket})
}

// colimaHome is where Colima keeps its profiles: COLIMA_HOME; ~/.colima where that exists, and always on macOS; else its
// folder among the user's configuration.
func (s surroundings) colimaHome() string {
	if dir := s.getenv("COLIMA_HOME"); dir != "" {
		return dir
	}
	dir := filepath.Join(s.home, ".colima")
	if _, err := os.Stat(dir); err == nil || s.goos == "darwin" {
		return dir
	}
	return filepath.Join(cmp.Or(s.getenv("XDG_CONFIG_HOME"), filepath.Join(s.home, ".config")), "colima")
}

// checked refuses what both client libraries cannot dial by themselves.
func (c Candidate) checked() Candidate {
	if c.Err == nil && !strings.HasPrefix(c.Host, "unix://") && !strings.HasPrefix(c.Host, "tcp://") {
		c.Err = fmt.Errorf("%w: only unix:// and tcp:// are", errUnsupported)
	}
	return c
}

func (s surroundings) configDir() string {
	if dir := s.getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	return filepath.Join(s.home, ".docker")
}

func (s surroundings) currentContext() (string, error) {
	file := filepath.Join(s.configDir(), "config.json")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var config struct {
		CurrentContext string `json:"currentContext"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return config.CurrentContext, nil
}

func (s surroundings) context(name, from string) Candidate {
	c := Candidate{From: fmt.Sprintf("%s %q", from, name)}
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	data, err := os.ReadFile(filepath.Join(s.configDir(), "contexts", "meta", id, "meta.json"))
	if err != nil {
		c.Err = fmt.Errorf("read the context: %w", err)
		return c
	}
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		c.Err = fmt.Errorf("read the context: %w", err)
		return c
	}
	c.Host = meta.Endpoints["docker"].Host
	if c.Host == "" {
		c.Err = errors.New("the context names no docker endpoint")
		return c
	}
	tls := filepath.Join(s.configDir(), "contexts", "tls", id, "docker")
	if info, err := os.Stat(tls); err == nil && info.IsDir() {
		c.tlsDir = tls
	}
	return c
}
