package stack

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"

	"minibot/secrets"
)

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

	// Exposures are the places that secrets are passed on at in the clear; none unless LoadOptions.AllowExposed is set.
	Exposures []Finding

	rewritten   *types.Project
	hash, shape string
}

// Service is one service of the project.
type Service struct {
	Name        string
	Container   string // container_name, or compose's own project-service-1
	Image       string
	DependsOn   []Dependency   // ordered by service
	Files       []File         // ordered by name
	Secrets     []secrets.Name // of Files, sorted, each once
	Exposed     []secrets.Name // that its definition, or a part of the project that it uses, holds in the clear; sorted, each once
	OnChange    string         // how a new secret is taken: "restart", "recreate", "signal", "exec", "openclaw" or "none"
	Signal      string         // with OnChange "signal"
	Exec        []string       // with OnChange "exec"
	Heal        Heal
	Healthcheck bool          // the compose file has one; an image may bring its own all the same
	StopGrace   time.Duration // compose's default is 10 s
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

// Hash changes whenever the definition changes in a way that [Engine.Create] could have something to do about; exposed
// values are part of it. It compares projects of this process only.
func (p *Project) Hash() string { return p.hash }

// Shape is [Project.Hash] without the exposed values: two projects of one shape are the same file.
func (p *Project) Shape() string { return p.shape }

func fingerprintProject(p *types.Project) (string, error) {
	data, err := json.Marshal([]any{p.Name, p.WorkingDir, p.Services, p.Networks, p.Volumes, p.Configs})
	if err != nil {
		return "", err
	}
	sum := hmac.New(sha256.New, hashKey())
	_, _ = sum.Write(data) // a hash never fails
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// hashKey is this process' own: a definition may hold values, and its hash is none that anybody could try values against.
var hashKey = sync.OnceValue(func() []byte {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return key
})

// quietLibraries keeps compose's warnings off the daemon's stderr: what matters of them is checked here.
var quietLibraries = sync.OnceFunc(func() { logrus.SetOutput(io.Discard) })
