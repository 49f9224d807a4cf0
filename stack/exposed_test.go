package stack

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"minibot/hint"
	"minibot/secrets"
)

// given is a LoadOptions.Exposed that has these values.
func given(t *testing.T, plain map[secrets.Name]string) func(context.Context, []secrets.Name) (map[secrets.Name]secrets.Value, error) {
	t.Helper()
	values := map[secrets.Name]secrets.Value{}
	for name, text := range plain {
		value, err := secrets.NewValue([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		values[name] = value
	}
	return func(context.Context, []secrets.Name) (map[secrets.Name]secrets.Value, error) { return values, nil }
}

func TestAFileThatPassesSecretsOnIsRefusedWithEveryPlace(t *testing.T) {
	text := web(`environment: [DB]`, `command: "run $API_TOKEN"`, `labels: { a: "${NOT_SET}" }`)
	file := writeCompose(t, text)
	asked := func(context.Context, []secrets.Name) (map[secrets.Name]secrets.Value, error) {
		t.Error("values were asked for")
		return nil, nil
	}
	_, err := Load(t.Context(), LoadOptions{File: file, Exposed: asked})
	var located *LoadError
	if !errors.As(err, &located) || located.Line != 5 || located.Path != "services.web.environment.DB" {
		t.Fatalf("%v", err)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], file+":5: services.web.environment.DB: ") || !strings.HasPrefix(lines[1], file+":6: services.web.command: ") {
		t.Errorf("%s", err)
	}
	if !strings.Contains(hint.Of(err), `exposure = "warn"`) || !strings.Contains(hint.Of(err), "minibotd check") {
		t.Errorf("hint %q", hint.Of(err))
	}
	_, err = Load(t.Context(), LoadOptions{File: writeCompose(t, web(`labels: { a: "${NOT_SET}" }`))})
	if err == nil || !strings.Contains(err.Error(), "variable is not set: ${NOT_SET}") {
		t.Errorf("what is no secret: %v", err)
	}
}

const exposing = `name: exposing
services:
  web: { image: "web:1", environment: [API_TOKEN], secrets: [DB] }
  conf: { image: "conf:1", configs: [c] }
  vol: { image: "vol:1", volumes: [ "vols:/v" ] }
  env: { image: "env:1", env_file: [a.env] }
  plain: { image: "plain:1", network_mode: none }
configs: { c: { environment: DB } }
volumes: { vols: { driver_opts: { o: "$VOLUME" } } }
secrets: { token: { environment: API_TOKEN }, DB: { environment: DB }, VOLUME: { environment: VOLUME } }
`

func TestExposedValuesReachTheDefinitionAndItsUsersOnly(t *testing.T) {
	file := writeCompose(t, exposing)
	writeBeside(t, file, "a.env", "URL=x:$DB\n")
	o := LoadOptions{File: file, AllowExposed: true, Exposed: given(t, map[secrets.Name]string{"API_TOKEN": "canary-token", "DB": "canary-db", "VOLUME": "canary-volume"})}
	p, err := Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	c := p.forEngine(nil, false)
	if v := c.Services["web"].Environment["API_TOKEN"]; v == nil || *v != "canary-token" {
		t.Errorf("web's environment: %v", c.Services["web"].Environment)
	}
	if v := c.Services["env"].Environment["URL"]; v == nil || *v != "x:canary-db" {
		t.Errorf("env's environment: %v", c.Services["env"].Environment)
	}
	if c.Configs["c"].Content != "canary-db" || c.Volumes["vols"].DriverOpts["o"] != "canary-volume" {
		t.Errorf("%v %v", c.Configs, c.Volumes)
	}
	if len(c.Secrets) > 0 || slices.ContainsFunc(slices.Collect(maps.Values(c.Environment)), func(v string) bool { return strings.Contains(v, "canary") }) {
		t.Errorf("left in the project: %v %v", c.Secrets, c.Environment)
	}
	exposed := map[string][]secrets.Name{}
	for name, s := range p.Services {
		if s.Exposed != nil {
			exposed[name] = s.Exposed
		}
	}
	if want := map[string][]secrets.Name{"web": {"API_TOKEN"}, "conf": {"DB"}, "vol": {"VOLUME"}, "env": {"DB"}}; !reflect.DeepEqual(exposed, want) {
		t.Errorf("exposed %v, want %v", exposed, want)
	}
	for _, r := range p.Requirements {
		if want := map[secrets.Name][]string{"API_TOKEN": {"web"}, "DB": {"conf", "env", "web"}, "VOLUME": {"vol"}}[r.Name]; !slices.Equal(r.UsedBy, want) {
			t.Errorf("%s is used by %v, want %v", r.Name, r.UsedBy, want)
		}
	}
	if len(p.Exposures) != 4 || !p.Exposes([]secrets.Name{"DB"}) || p.Exposes([]secrets.Name{"OTHER"}) {
		t.Errorf("%v", p.Exposures)
	}
}

func TestANewExposedValueIsANewDefinitionOfTheSameFile(t *testing.T) {
	file := writeCompose(t, exposing)
	writeBeside(t, file, "a.env", "")
	hash := func(db string) *Project {
		p, err := Load(t.Context(), LoadOptions{File: file, AllowExposed: true, Exposed: given(t, map[secrets.Name]string{"API_TOKEN": "t", "DB": db, "VOLUME": "v"})})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first, same, other := hash("canary-one"), hash("canary-one"), hash("canary-two")
	if first.Hash() != same.Hash() || first.Hash() == other.Hash() || first.Shape() != other.Shape() {
		t.Errorf("hashes %s %s %s, shapes %s %s", first.Hash(), same.Hash(), other.Hash(), first.Shape(), other.Shape())
	}
	writeBeside(t, file, "a.env", "A=1\n")
	if edited := hash("canary-one"); edited.Shape() == first.Shape() {
		t.Error("another file has the same shape")
	}
}

func TestExposedSecretsThatAreNotSet(t *testing.T) {
	file := writeCompose(t, strings.Replace(web(`environment: [API_TOKEN]`), "image: a", `image: "w:${DB}"`, 1))
	for name, o := range map[string]LoadOptions{"nobody knows values": {}, "none is set": {Exposed: given(t, nil)}} {
		o.File, o.AllowExposed = file, true
		p, err := Load(t.Context(), o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if v := p.rewritten.Services["web"].Environment["API_TOKEN"]; v == nil || *v != "api-token-is-not-set" {
			t.Errorf("%s: %v", name, p.rewritten.Services["web"].Environment)
		}
		if p.Services["web"].Image != "w:db-is-not-set" || !slices.Equal(p.Services["web"].Exposed, []secrets.Name{"API_TOKEN", "DB"}) {
			t.Errorf("%s: %+v", name, p.Services["web"])
		}
	}
	file = writeCompose(t, top(`networks: { n: { driver_opts: { k: "$DB" } } }`))
	_, err := Load(t.Context(), LoadOptions{File: file, AllowExposed: true, Exposed: given(t, nil)})
	if err == nil || !strings.Contains(err.Error(), ":4: networks.n.driver_opts.k: DB is not set") || !strings.Contains(hint.Of(err), "mb-secrets set DB") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	broken := errors.New("the store is shut")
	_, err = Load(t.Context(), LoadOptions{File: file, AllowExposed: true,
		Exposed: func(context.Context, []secrets.Name) (map[secrets.Name]secrets.Value, error) { return nil, broken }})
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// Compose quotes what it cannot read, whole or in parts.
func TestErrorsQuoteNoExposedValue(t *testing.T) {
	for name, test := range map[string]struct{ line, value string }{
		"port":           {`ports: [ "${DB}:80" ]`, "canary-one:canary-two"},
		"volume":         {`volumes: [ "${DB}" ]`, "canary-one:canary-two:canary-three:canary-four"},
		"number":         {`mem_limit: "${DB}"`, "canary-mem"},
		"another fault":  {`environment: [DB]` + "\n    comand: x", "canary-x"},
		"unset variable": {`command: "$DB $NOT_SET"`, "canary-x"},
		"condition":      {`depends_on: { web: { condition: "$DB" } }`, "canary-x"},
	} {
		file := writeCompose(t, web(test.line))
		_, err := Load(t.Context(), LoadOptions{File: file, AllowExposed: true, Exposed: given(t, map[secrets.Name]string{"DB": test.value})})
		if err == nil {
			t.Errorf("%s: loads", name)
			continue
		}
		if text := err.Error() + hint.Of(err); strings.Contains(text, "canary") {
			t.Errorf("%s: %s", name, text)
		}
	}
}
