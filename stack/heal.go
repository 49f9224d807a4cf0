package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// Heal is how a service is healed: `heal:` of its x-minibot. The zero value is the default.
type Heal struct {
	Off         bool          // heal: none
	Unhealthy   string        // what becomes of an unhealthy one: "restart", "recreate", "stop" or "ignore"; "": restarts, and when these are in vain a new container
	StartGrace  time.Duration // how long after its start an unhealthy one is left alone
	Backoff     time.Duration // after the first failed attempt; doubles
	MaxAttempts int           // failed ones in a row until it is given up; 0: never
	StopTimeout time.Duration // what a heal gives it to stop, in whole seconds; 0: its stop_grace_period
}

// healExtension is `heal:` as a mapping.
type healExtension struct {
	Unhealthy   string `json:"unhealthy"`
	StartGrace  string `json:"start_grace"`
	Backoff     string `json:"backoff"`
	MaxAttempts *int   `json:"max_attempts"`
	StopTimeout string `json:"stop_timeout"`
}

const (
	healKeys       = "unhealthy, start_grace, backoff, max_attempts, stop_timeout"
	maxStartGrace  = 24 * time.Hour
	minBackoff     = time.Second // a shorter one would be a storm
	maxBackoff     = time.Hour
	maxMaxAttempts = 1000
)

// readHeal reads a word or a mapping. nothing is the default.
func readHeal(at []string, data json.RawMessage) (Heal, error) {
	var heal Heal
	var word string
	if len(data) == 0 || json.Unmarshal(data, &word) == nil {
		heal.Off = word == "none"
		if word == "restart" {
			heal.Unhealthy = word
		}
		if word != "" && word != "restart" && word != "none" {
			return heal, &fault{path: at, err: fmt.Errorf("%q is neither restart nor none", word), hint: "or a mapping with " + healKeys}
		}
		return heal, nil
	}
	var x healExtension
	if err := decodeValue(at, data, &x, healKeys); err != nil {
		return heal, err
	}
	heal.Unhealthy = x.Unhealthy
	if !slices.Contains([]string{"", "restart", "recreate", "stop", "ignore"}, heal.Unhealthy) {
		return heal, faultf(append(at, "unhealthy"), "%q is none of restart, recreate, stop, ignore", heal.Unhealthy)
	}
	if x.MaxAttempts != nil {
		heal.MaxAttempts = *x.MaxAttempts
	}
	if heal.MaxAttempts < 0 || heal.MaxAttempts > maxMaxAttempts {
		return heal, faultf(append(at, "max_attempts"), "%d is not between 0, which never gives up, and %d", heal.MaxAttempts, maxMaxAttempts)
	}
	for _, d := range []struct {
		key, text   string
		into        *time.Duration
		least, most time.Duration
	}{
		{"start_grace", x.StartGrace, &heal.StartGrace, 0, maxStartGrace},
		{"backoff", x.Backoff, &heal.Backoff, minBackoff, maxBackoff},
		{"stop_timeout", x.StopTimeout, &heal.StopTimeout, time.Second, maxStartGrace},
	} {
		if d.text == "" {
			continue
		}
		value, err := time.ParseDuration(d.text)
		if err != nil || value < d.least || value > d.most {
			return heal, faultf(append(at, d.key), "%q is no time such as 30s, between %v and %v", d.text, d.least, d.most)
		}
		*d.into = value
	}
	if heal.StopTimeout%time.Second != 0 {
		return heal, faultf(append(at, "stop_timeout"), "%v is not in whole seconds", heal.StopTimeout)
	}
	return heal, nil
}

// checkStopTimeout refuses a stop_timeout where a kill could cost data, and one that is none.
func (p *Project) checkStopTimeout(at []string, s Service, config types.ServiceConfig) error {
	at = append(slices.Clone(at), extensionKey, "heal", "stop_timeout")
	switch why := p.database(s, config); {
	case s.Heal.StopTimeout == 0:
		return nil
	case why != "":
		return &fault{path: at, err: errors.New("a database is never killed early: " + why), hint: "leave stop_timeout out; a heal gives it its stop_grace_period"}
	case s.Heal.StopTimeout > s.StopGrace:
		return faultf(at, "%v is longer than the service's stop_grace_period, %v", s.Heal.StopTimeout, s.StopGrace)
	}
	return nil
}

// databaseImages are names of images, and what names of images end with after a hyphen, that hold a database.
var databaseImages = []string{"postgres", "postgresql", "postgis", "pgvector", "timescaledb", "redis", "valkey", "keydb", "mysql", "mariadb", "mongo", "mongodb"}

// database says why a service is taken for a database, or "".
func (p *Project) database(s Service, config types.ServiceConfig) string {
	for _, r := range p.Requirements {
		if driver := r.Rotate.Driver; (driver == "postgres" || driver == "redis") && r.Rotate.Service == s.Name {
			return fmt.Sprintf("%s is rotated inside it", r.Name)
		}
	}
	for _, variable := range []string{"PGDATA", "POSTGRES_INITDB_ARGS"} {
		if _, set := config.Environment[variable]; set {
			return "its environment has " + variable
		}
	}
	image, _, _ := strings.Cut(path.Base(s.Image), ":")
	image, _, _ = strings.Cut(image, "@")
	for _, name := range databaseImages {
		if image == name || strings.HasSuffix(image, "-"+name) {
			return "its image is " + image
		}
	}
	return ""
}
