package stack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"minibot/secrets"
)

// serviceExtension is `x-minibot:` below a service.
type serviceExtension struct {
	OnChange string          `json:"on_change"`
	Signal   string          `json:"signal"`
	Exec     []string        `json:"exec"`
	Heal     json.RawMessage `json:"heal"` // a word or a mapping: readHeal
}

// secretExtension is `x-minibot:` below a top-level secret.
type secretExtension struct {
	Description string `json:"description"`
	Generate    *struct {
		Length int `json:"length"`
	} `json:"generate"`
	Rotate *struct {
		Driver   string   `json:"driver"`
		Service  string   `json:"service"`
		User     string   `json:"user"`
		Database string   `json:"database"`
		Roles    []string `json:"roles"`
		Owner    string   `json:"owner"`
		Command  []string `json:"command"`
		Overlaps bool     `json:"overlaps"`
	} `json:"rotate"`
	MaxAge    any    `json:"max_age"` // text, or the number 0
	RevokeURL string `json:"revoke_url"`
}

const (
	defaultLength = 32
	maxLength     = 4096
	defaultMaxAge = 90 * 24 * time.Hour
)

var signalPattern = regexp.MustCompile(`^(SIG)?[A-Z][A-Z0-9]{1,9}$`)

func readServiceExtension(at []string, extensions types.Extensions) (serviceExtension, error) {
	var x serviceExtension
	at = append(slices.Clone(at), extensionKey)
	if err := decodeStrict(at, extensions, &x, "on_change, signal, exec, heal"); err != nil {
		return x, err
	}
	if x.OnChange == "" {
		x.OnChange = "restart"
	}
	switch {
	case !slices.Contains([]string{"restart", "recreate", "signal", "exec", "openclaw", "none"}, x.OnChange):
		return x, faultf(append(at, "on_change"), "%q is none of restart, recreate, signal, exec, openclaw, none", x.OnChange)
	case x.OnChange == "signal" && !signalPattern.MatchString(x.Signal):
		return x, faultf(append(at, "signal"), "on_change: signal needs the name of a signal such as SIGHUP, not %q", x.Signal)
	case x.OnChange != "signal" && x.Signal != "":
		return x, faultf(append(at, "signal"), "goes with on_change: signal only")
	case x.OnChange == "exec" && (len(x.Exec) == 0 || x.Exec[0] == ""):
		return x, faultf(append(at, "exec"), "on_change: exec needs a command, as a list")
	case x.OnChange != "exec" && x.Exec != nil:
		return x, faultf(append(at, "exec"), "goes with on_change: exec only")
	}
	return x, nil
}

// readSecrets fills Requirements and returns the secret's name for each key below `secrets:`.
func (p *Project) readSecrets() (map[string]secrets.Name, error) {
	names := map[string]secrets.Name{}
	owner := map[secrets.Name]string{}
	for _, key := range slices.Sorted(maps.Keys(p.rewritten.Secrets)) {
		at := []string{"secrets", key}
		config := p.rewritten.Secrets[key]
		if config.Environment == "" {
			return nil, &fault{path: at, err: errors.New("only secrets with `environment: NAME` are served"), hint: "replace it by `environment: " + strings.ToUpper(key) + "`; the value comes from the secret store"}
		}
		name, err := secrets.ParseName(config.Environment)
		if err != nil {
			return nil, &fault{path: append(at, "environment"), err: err}
		}
		if other, taken := owner[name]; taken {
			return nil, faultf(append(at, "environment"), "%s is declared by secrets.%s already", name, other)
		}
		names[key], owner[name] = name, key
		requirement, err := p.readRequirement(at, name, config.Extensions)
		if err != nil {
			return nil, err
		}
		p.Requirements = append(p.Requirements, requirement)
	}
	if err := p.addUserNames(owner); err != nil {
		return nil, err
	}
	slices.SortFunc(p.Requirements, func(a, b secrets.Requirement) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return names, nil
}

func (p *Project) readRequirement(at []string, name secrets.Name, extensions types.Extensions) (secrets.Requirement, error) {
	var x secretExtension
	at = append(slices.Clone(at), extensionKey)
	r := secrets.Requirement{Name: name}
	if err := decodeStrict(at, extensions, &x, "description, generate, rotate, max_age, revoke_url"); err != nil {
		return r, err
	}
	r.Description, r.RevokeURL = x.Description, x.RevokeURL
	if g := x.Generate; g != nil {
		if g.Length == 0 {
			g.Length = defaultLength
		}
		if g.Length < secrets.MinGenerated || g.Length > maxLength {
			return r, faultf(append(at, "generate", "length"), "%d is not between %d and %d", g.Length, secrets.MinGenerated, maxLength)
		}
		r.Generate = &secrets.Recipe{Length: g.Length}
	}
	age, err := readMaxAge(x.MaxAge)
	if err != nil {
		return r, &fault{path: append(at, "max_age"), err: err}
	}
	r.MaxAge = age
	if o := x.Rotate; o != nil {
		if !slices.Contains([]string{"postgres", "redis", driverOpenClaw, "exec"}, o.Driver) {
			return r, faultf(append(at, "rotate", "driver"), "%q is none of postgres, redis, openclaw, exec", o.Driver)
		}
		if _, there := p.rewritten.Services[o.Service]; !there {
			return r, faultf(append(at, "rotate", "service"), "there is no service %q", o.Service)
		}
		r.Rotate = secrets.Rotation{Driver: o.Driver, Service: o.Service, User: o.User, Database: o.Database, Command: o.Command, Overlaps: o.Overlaps}
		if err := checkRotation(append(at, "rotate"), r.Rotate); err != nil {
			return r, err
		}
		if err := readRoles(append(at, "rotate"), name, &r.Rotate, o.Roles, o.Owner); err != nil {
			return r, err
		}
	}
	return r, nil
}

// readMaxAge reads a max_age: nothing is the default, "never" and 0 are no limit.
func readMaxAge(given any) (time.Duration, error) {
	switch given {
	case nil:
		return defaultMaxAge, nil
	case "never", "0", 0.0:
		return 0, nil
	}
	text, ok := given.(string)
	if !ok {
		return 0, errors.New("want an age such as 90d, or never")
	}
	return ParseAge(text)
}

// driverOpenClaw also is the on_change of a service that is reloaded with the token that this driver rotates.
const driverOpenClaw = "openclaw"

// checkRotation refuses keys that do not go with the driver.
func checkRotation(at []string, r secrets.Rotation) error {
	switch {
	case r.Driver == "exec" && (len(r.Command) == 0 || r.Command[0] == ""):
		return faultf(append(at, "command"), "driver: exec needs a command, as a list")
	case r.Driver != "exec" && r.Command != nil:
		return faultf(append(at, "command"), "goes with driver: exec only")
	case r.Driver != "exec" && r.Overlaps:
		return faultf(append(at, "overlaps"), "goes with driver: exec only")
	case r.Driver == driverOpenClaw && r.User != "":
		return faultf(append(at, "user"), "OpenClaw's token has no user")
	case (r.Driver == driverOpenClaw || r.Driver == "exec") && r.Database != "":
		return faultf(append(at, "database"), "goes with driver: postgres only")
	}
	return nil
}

// checkReload refuses on_change: openclaw for a service whose token is not known.
func (p *Project) checkReload(service string, x serviceExtension) error {
	if x.OnChange != driverOpenClaw || slices.ContainsFunc(p.Requirements, func(r secrets.Requirement) bool {
		return r.Rotate.Driver == driverOpenClaw && r.Rotate.Service == service
	}) {
		return nil
	}
	return &fault{path: []string{"services", service, extensionKey, "on_change"},
		err:  errors.New("on_change: openclaw needs the gateway's token, and no secret has it"),
		hint: "give the token's secret `rotate: { driver: openclaw, service: " + service + " }`, or use on_change: restart"}
}

var agePart = regexp.MustCompile(`^(\d{1,6})([wd])`)

// ParseAge reads an age such as "90d", "2w3d" or "12h": weeks and days, then what time.ParseDuration reads.
func ParseAge(s string) (time.Duration, error) {
	var age time.Duration
	rest := s
	for {
		part := agePart.FindStringSubmatch(rest)
		if part == nil {
			break
		}
		n, err := strconv.Atoi(part[1])
		if err != nil {
			return 0, err
		}
		day := 24 * time.Hour
		if part[2] == "w" {
			day *= 7
		}
		age += time.Duration(n) * day
		rest = rest[len(part[0]):]
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil {
			return 0, fmt.Errorf("%q is not an age such as 90d, 2w or 12h", s)
		}
		age += d
	}
	if age <= 0 || age > 100*365*24*time.Hour {
		return 0, fmt.Errorf("%q is not an age such as 90d, 2w or 12h", s)
	}
	return age, nil
}

var unknownField = regexp.MustCompile(`unknown field "(.*)"`)

// decodeStrict reads the x-minibot at path into target; a key that target does not know is an error. Compose's own
// decoder ignores unknown keys, so it goes through JSON.
func decodeStrict(at []string, extensions types.Extensions, target any, known string) error {
	value, there := extensions[extensionKey]
	if !there {
		return nil
	}
	if value == nil {
		return faultf(at, "is empty")
	}
	data, err := json.Marshal(value)
	if err != nil {
		return &fault{path: at, err: err}
	}
	return decodeValue(at, data, target, known)
}

// decodeValue is decodeStrict of what is JSON already.
func decodeValue(at []string, data []byte, target any, known string) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(target)
	var mismatch *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mismatch):
		if mismatch.Field != "" {
			at = append(at, strings.Split(mismatch.Field, ".")...)
		}
		return faultf(at, "no %s belongs here", mismatch.Value)
	}
	if field := unknownField.FindStringSubmatch(err.Error()); field != nil {
		return &fault{path: append(at, field[1]), err: errors.New("unknown key"), hint: "known keys: " + known}
	}
	return &fault{path: at, err: err}
}
