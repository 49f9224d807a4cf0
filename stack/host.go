package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// candidate is a place where an engine may listen.
type candidate struct {
	host    string // unix:///… or tcp://…
	from    string // who named it
	tlsDir  string // ca.pem, cert.pem, key.pem; "" for none
	problem error  // why it cannot be used
}

// surroundings is what the search for the engine reads; tests give their own.
type surroundings struct {
	getenv func(string) string
	home   string
	system string // where the system-wide socket is
}

func realSurroundings() (surroundings, error) {
	home, err := os.UserHomeDir()
	return surroundings{getenv: os.Getenv, home: home, system: "/var/run/docker.sock"}, err
}

// candidates lists where the engine may be, best first, as the docker command would: DOCKER_HOST, DOCKER_CONTEXT and
// the current context are a person's choice and stand alone; without one, the known sockets follow each other.
func (s surroundings) candidates() []candidate {
	if host := s.getenv("DOCKER_HOST"); host != "" {
		c := candidate{host: host, from: "DOCKER_HOST"}
		if s.getenv("DOCKER_TLS_VERIFY") != "" {
			c.tlsDir = s.getenv("DOCKER_CERT_PATH")
			if c.tlsDir == "" {
				c.tlsDir = s.configDir()
			}
		}
		return []candidate{c.checked()}
	}
	if name := s.getenv("DOCKER_CONTEXT"); name != "" && name != "default" {
		return []candidate{s.context(name, "DOCKER_CONTEXT").checked()}
	} else if name == "" {
		current, err := s.currentContext()
		if err != nil {
			return []candidate{{from: "config.json", problem: err}}
		}
		if current != "" && current != "default" {
			return []candidate{s.context(current, "the current context").checked()}
		}
	}
	return []candidate{
		{host: "unix://" + s.system, from: "the system's socket"},
		{host: "unix://" + filepath.Join(s.home, ".docker/run/docker.sock"), from: "Docker Desktop"},
		{host: "unix://" + filepath.Join(s.home, ".orbstack/run/docker.sock"), from: "OrbStack"},
		{host: "unix://" + filepath.Join(s.home, ".colima/default/docker.sock"), from: "Colima"},
	}
}

// checked refuses what both client libraries cannot dial by themselves.
func (c candidate) checked() candidate {
	if c.problem == nil && !strings.HasPrefix(c.host, "unix://") && !strings.HasPrefix(c.host, "tcp://") {
		c.problem = errors.New("only unix:// and tcp:// engines are supported")
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

func (s surroundings) context(name, from string) candidate {
	c := candidate{from: fmt.Sprintf("%s %q", from, name)}
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	data, err := os.ReadFile(filepath.Join(s.configDir(), "contexts", "meta", id, "meta.json"))
	if err != nil {
		c.problem = fmt.Errorf("read the context: %w", err)
		return c
	}
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		c.problem = fmt.Errorf("read the context: %w", err)
		return c
	}
	c.host = meta.Endpoints["docker"].Host
	if c.host == "" {
		c.problem = errors.New("the context names no docker endpoint")
		return c
	}
	tls := filepath.Join(s.configDir(), "contexts", "tls", id, "docker")
	if info, err := os.Stat(tls); err == nil && info.IsDir() {
		c.tlsDir = tls
	}
	return c
}
