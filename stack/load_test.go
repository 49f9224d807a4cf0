package stack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

func writeCompose(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func load(t testing.TB, text string) *Project {
	t.Helper()
	p, err := Load(t.Context(), LoadOptions{File: writeCompose(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const fullCompose = `
name: full
services:
  db:
    image: ${DB_IMAGE:-db:1}
    container_name: the-db
    restart: unless-stopped
    stop_grace_period: 45s
    deploy: { restart_policy: { condition: any } }
    secrets: [DB_PASSWORD]
    healthcheck: { test: [CMD, "true"] }
    x-minibot: { on_change: none, heal: none }
  web:
    image: web:1
    secrets:
      - DB_PASSWORD
      - { source: token, target: api-token, uid: "1000", gid: "1001", mode: 0400 }
      - { source: token, target: /run/secrets/other }
    depends_on:
      db: { condition: service_healthy, restart: true }
      gone: { condition: service_started, required: false }
    x-minibot: { on_change: exec, exec: [app, reload] }
  hup:
    image: hup:1
    secrets: [token]
    healthcheck: { disable: true }
    x-minibot: { on_change: signal, signal: SIGHUP }
  gone: { image: gone:1, profiles: [never] }
  plain: { image: plain:1, volumes: [data:/data], command: "$$HOME ${BLANK:-} ${ALSO-}" }
volumes: { data: {} }
secrets:
  DB_PASSWORD:
    environment: DB_PASSWORD
    x-minibot:
      description: the database
      generate: { length: 24 }
      rotate: { driver: postgres, service: db, user: app, database: main }
      max_age: 90d
      revoke_url: https://example.com/revoke
  token: { environment: API_TOKEN, x-minibot: { generate: {}, max_age: 2w12h } }
  unused: { environment: UNUSED }
`

func TestLoad(t *testing.T) {
	t.Setenv("DB_IMAGE", "from-the-process:1")
	p := load(t, fullCompose)
	want := map[string]Service{
		"db": {Name: "db", Container: "the-db", Image: "db:1", Files: []File{{Secret: "DB_PASSWORD", Name: "DB_PASSWORD", Mode: 0o444}},
			Secrets: []secrets.Name{"DB_PASSWORD"}, OnChange: "none", Heal: Heal{Off: true}, Healthcheck: true, StopGrace: 45 * time.Second},
		"web": {Name: "web", Container: "full-web-1", Image: "web:1",
			DependsOn: []Dependency{{Service: "db", Condition: "service_healthy", Required: true, Restart: true}},
			Files: []File{{Secret: "DB_PASSWORD", Name: "DB_PASSWORD", Mode: 0o444}, {Secret: "API_TOKEN", Name: "api-token", UID: 1000, GID: 1001, Mode: 0o400},
				{Secret: "API_TOKEN", Name: "other", Mode: 0o444}},
			Secrets: []secrets.Name{"API_TOKEN", "DB_PASSWORD"}, OnChange: "exec", Exec: []string{"app", "reload"}, StopGrace: 10 * time.Second},
		"hup": {Name: "hup", Container: "full-hup-1", Image: "hup:1", Files: []File{{Secret: "API_TOKEN", Name: "token", Mode: 0o444}},
			Secrets: []secrets.Name{"API_TOKEN"}, OnChange: "signal", Signal: "SIGHUP", StopGrace: 10 * time.Second},
		"plain": {Name: "plain", Container: "full-plain-1", Image: "plain:1", OnChange: "restart", StopGrace: 10 * time.Second},
	}
	for name, service := range want {
		if !reflect.DeepEqual(p.Services[name], service) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, p.Services[name], service)
		}
	}
	if p.Name != "full" || len(p.Services) != len(want) {
		t.Errorf("project %s with %d services", p.Name, len(p.Services))
	}
	requirements := []secrets.Requirement{
		{Name: "API_TOKEN", UsedBy: []string{"hup", "web"}, Generate: &secrets.Recipe{Length: 32}, MaxAge: (14*24 + 12) * time.Hour},
		{Name: "DB_PASSWORD", Description: "the database", UsedBy: []string{"db", "web"}, Generate: &secrets.Recipe{Length: 24},
			Rotate: secrets.Rotation{Driver: "postgres", Service: "db", User: "app", Database: "main"}, MaxAge: 90 * 24 * time.Hour, RevokeURL: "https://example.com/revoke"},
		{Name: "UNUSED", MaxAge: 90 * 24 * time.Hour},
	}
	if !reflect.DeepEqual(p.Requirements, requirements) {
		t.Errorf("requirements:\n got %+v\nwant %+v", p.Requirements, requirements)
	}
}

func TestMaxAge(t *testing.T) {
	for given, want := range map[string]time.Duration{
		"{}": defaultMaxAge, "{ max_age: }": defaultMaxAge, "{ max_age: never }": 0, "{ max_age: 0 }": 0, "{ max_age: '0' }": 0, "{ max_age: 1w }": 7 * 24 * time.Hour,
	} {
		p := load(t, badHead+"secrets:\n  a:\n    environment: A\n    x-minibot: "+given+"\n")
		if got := p.Requirements[0].MaxAge; got != want {
			t.Errorf("%s: %v, want %v", given, got, want)
		}
	}
	if got := load(t, badHead+"secrets: { a: { environment: A } }\n").Requirements[0].MaxAge; got != 90*24*time.Hour {
		t.Errorf("without x-minibot: %v", got)
	}
}

func TestRewriteKeepsSecretsAndRestartsFromTheEngine(t *testing.T) {
	p := load(t, fullCompose)
	c := p.forEngine([]byte("program"), true)
	if len(c.Secrets) != 0 {
		t.Errorf("secrets are left: %v", c.Secrets)
	}
	for name, service := range c.Services {
		if len(service.Secrets) > 0 {
			t.Errorf("%s has secrets", name)
		}
		want := "no"
		if name == KeeperService {
			want = "always"
		}
		if service.Restart != want || service.Deploy != nil && service.Deploy.RestartPolicy != nil {
			t.Errorf("%s is restarted by the engine: %q", name, service.Restart)
		}
	}
	for _, name := range []string{"db", "web", "hup"} {
		mounts := c.Services[name].Volumes
		last := mounts[len(mounts)-1]
		if last.Target != "/run/secrets" || !last.ReadOnly || last.Source != "secrets-"+name || !last.Volume.NoCopy {
			t.Errorf("%s mounts %+v", name, last)
		}
		if o := c.Volumes["secrets-"+name].DriverOpts["o"]; !strings.HasSuffix(o, ",noswap") {
			t.Errorf("%s: options %s", name, o)
		}
	}
	if n := len(c.Services["plain"].Volumes); n != 1 {
		t.Errorf("plain has %d mounts", n)
	}
	k := c.Services[KeeperService]
	if k.NetworkMode != "none" || !k.ReadOnly || k.CapDrop[0] != "ALL" || k.SecurityOpt[0] != "no-new-privileges:true" || k.Logging.Driver != "none" || len(k.Volumes) != 4 {
		t.Errorf("keeper: %+v", k)
	}
	if o := p.forEngine(nil, false).Volumes["secrets-db"].DriverOpts["o"]; strings.Contains(o, "noswap") {
		t.Errorf("one engine's options show in another's: %s", o)
	}
}

func TestHash(t *testing.T) {
	base := load(t, fullCompose).Hash()
	for name, test := range map[string]struct {
		old, new string
		differs  bool
	}{
		"nothing":     {"", "", false},
		"image":       {"plain:1", "plain:2", true},
		"new secret":  {"image: plain:1,", "image: plain:1, secrets: [token],", true},
		"volume":      {"{ data: {} }", "{ data: { labels: [a=b] } }", true},
		"description": {"the database", "our database", false},
		"adoption":    {"[app, reload]", "[app, again]", false},
	} {
		text := strings.Replace(fullCompose, test.old, test.new, 1)
		file := filepath.Join(t.TempDir(), "compose.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := Load(t.Context(), LoadOptions{File: file})
		if err != nil {
			t.Fatal(err)
		}
		p.rewritten.WorkingDir = "" // temporary directories differ
		same := load(t, fullCompose)
		same.rewritten.WorkingDir = ""
		a, errA := fingerprintProject(p.rewritten)
		b, errB := fingerprintProject(same.rewritten)
		if errA != nil || errB != nil || (a != b) != test.differs {
			t.Errorf("%s: differs %v, %v %v", name, a != b, errA, errB)
		}
	}
	if base == "" {
		t.Error("no hash")
	}
}

const rolesHead = badHead + "secrets:\n  a:\n    environment: A\n    x-minibot:\n      rotate: { "

const badHead = "name: bad\nservices:\n  web:\n    image: web:1\n"

// badFiles are compose files whose fault is on the line with the comment "here".
var badFiles = map[string]struct{ text, message, hint string }{
	"syntax":                 {badHead + "    command: [a, b\n  other:  # here\n    image: x\n", "", ""},
	"tab":                    {badHead + "\tcommand: a # here\n", "", ""},
	"unknown service key":    {badHead + "    comand: a # here\n", "comand", ""},
	"wrong type":             {badHead + "    ports: 80 # here\n", "services.web.ports", ""},
	"bad variable":           {badHead + "    command: ${a # here\n", "services.web.command", ""},
	"unset variable":         {badHead + "    command: a $TOKEN # here\n", "variable is not set: $TOKEN", "[env]"},
	"undefined secret":       {badHead + "    secrets:\n      - TOKEN # here\n", "undefined secret TOKEN", "declare it"},
	"undefined dependency":   {badHead + "    depends_on:\n      - db # here\n", "db", ""},
	"undefined network":      {badHead + "    networks:\n      - back # here\n", "back", ""},
	"top-level x-minibot":    {badHead + "x-minibot: { a: 1 } # here\n", "x-minibot", ""},
	"unknown key":            {badHead + "    x-minibot:\n      heal: none\n      heel: none # here\n", "services.web.x-minibot.heel: unknown key", "on_change, signal, exec, heal"},
	"empty extension":        {badHead + "    x-minibot: # here\n", "services.web.x-minibot: is empty", ""},
	"extension of a merge":   {"x-b: &b\n  x-minibot:\n    heel: 1 # here\n" + badHead + "    <<: *b\n", "unknown key", ""},
	"on_change":              {badHead + "    x-minibot:\n      on_change: reboot # here\n", `"reboot" is none of`, ""},
	"on_change type":         {badHead + "    x-minibot:\n      on_change: [a] # here\n", "x-minibot.on_change", ""},
	"no signal":              {badHead + "    x-minibot:\n      on_change: signal # here\n", "needs the name of a signal", ""},
	"signal alone":           {badHead + "    x-minibot:\n      signal: SIGHUP # here\n", "goes with", ""},
	"no exec":                {badHead + "    x-minibot:\n      on_change: exec\n      exec: [] # here\n", "needs a command", ""},
	"exec as text":           {badHead + "    x-minibot:\n      on_change: exec\n      exec: app reload # here\n", "exec", ""},
	"exec alone":             {badHead + "    x-minibot:\n      exec: [a] # here\n", "goes with", ""},
	"heal":                   {badHead + "    x-minibot:\n      heal: sometimes # here\n", "heal", ""},
	"scale":                  {badHead + "    scale: 2 # here\n", "exactly one", ""},
	"replicas":               {badHead + "    deploy:\n      replicas: 0 # here\n", "exactly one", ""},
	"hook":                   {badHead + "    post_start: # here\n      - command: a\n", "lifecycle hooks", ""},
	"keeper":                 {badHead + "  keeper: # here\n    image: x\n", "reserved", "another name"},
	"reserved volume":        {badHead + "volumes:\n  secrets-x: # here\n", "reserved", ""},
	"file secret":            {badHead + "secrets:\n  a: # here\n    file: ./a\n", "only secrets with", "environment: A"},
	"external secret":        {badHead + "secrets:\n  a: # here\n    external: true\n", "only secrets with", ""},
	"secret's name":          {badHead + "secrets:\n  a:\n    environment: lower # here\n", "invalid secret name", ""},
	"twice":                  {badHead + "secrets:\n  a:\n    environment: A\n  b:\n    environment: A # here\n", "declared by secrets.a", ""},
	"unknown secret key":     {badHead + "secrets:\n  a:\n    environment: A\n    x-minibot:\n      max-age: 90d # here\n", "unknown key", "max_age"},
	"unknown nested key":     {badHead + "secrets:\n  a:\n    environment: A\n    x-minibot:\n      generate:\n        lengths: 20 # here\n", "unknown key", ""},
	"short":                  {badHead + "secrets:\n  a:\n    environment: A\n    x-minibot:\n      generate:\n        length: 15 # here\n", "not between", ""},
	"length type":            {badHead + "secrets:\n  a:\n    environment: A\n    x-minibot:\n      generate:\n        length: long # here\n", "generate.length", ""},
	"max_age":                {badHead + "secrets:\n  a:\n    environment: A\n    x-minibot:\n      max_age: soon # here\n", "not an age", ""},
	"max_age's unit":         {badHead + "secrets:\n  a:\n    environment: A\n    x-minibot:\n      max_age: 90 # here\n", "want an age such as 90d, or never", ""},
	"empty max_age":          {badHead + "secrets:\n  a:\n    environment: A\n    x-minibot:\n      max_age: '' # here\n", "not an age", ""},
	"driver":                 {badHead + "secrets:\n  a:\n    environment: A\n    x-minibot:\n      rotate:\n        driver: oracle # here\n", "none of postgres, redis, openclaw, exec", ""},
	"rotate where":           {badHead + "secrets:\n  a:\n    environment: A\n    x-minibot:\n      rotate:\n        driver: redis\n        service: cache # here\n", `no service "cache"`, ""},
	"roles of redis":         {rolesHead + "driver: redis, service: web, roles: [a, b], owner: c } # here\n", "postgres only", ""},
	"owner of redis":         {rolesHead + "driver: redis, service: web, owner: c } # here\n", "postgres only", ""},
	"no owner":               {rolesHead + "driver: postgres, service: web, roles: [a, b] } # here\n", "need an owner", "owner: NAME"},
	"owner alone":            {rolesHead + "driver: postgres, service: web, owner: c } # here\n", "exactly two", ""},
	"one role":               {rolesHead + "driver: postgres, service: web, roles: [a], owner: c } # here\n", "exactly two", ""},
	"no roles":               {rolesHead + "driver: postgres, service: web, roles: [], owner: c } # here\n", "exactly two", ""},
	"three roles":            {rolesHead + "driver: postgres, service: web, roles: [a, b, d], owner: c } # here\n", "exactly two", ""},
	"the same role":          {rolesHead + "driver: postgres, service: web, roles: [a, a], owner: c } # here\n", "exactly two", ""},
	"empty role":             {rolesHead + "driver: postgres, service: web, roles: [a, ''], owner: c } # here\n", `"" cannot be`, ""},
	"role with a space":      {rolesHead + "driver: postgres, service: web, roles: [a, b c], owner: c } # here\n", `"b c" cannot be`, ""},
	"role of Postgres":       {rolesHead + "driver: postgres, service: web, roles: [a, pg_b], owner: c } # here\n", `"pg_b" cannot be`, ""},
	"role is owner":          {rolesHead + "driver: postgres, service: web, roles: [a, c], owner: c } # here\n", `"c" is the user, the owner`, ""},
	"role is user":           {rolesHead + "driver: postgres, service: web, user: a, roles: [a, b], owner: c } # here\n", `"a" is the user`, ""},
	"owner is user":          {rolesHead + "driver: postgres, service: web, roles: [a, b], owner: postgres } # here\n", `"postgres" is the user`, ""},
	"bad owner":              {rolesHead + "driver: postgres, service: web, roles: [a, b], owner: public } # here\n", `"public" cannot be`, ""},
	"database with a line":   {rolesHead + "driver: postgres, service: web, database: \"a\\nb\", roles: [a, b], owner: c } # here\n", "connection service file", ""},
	"unknown role key":       {rolesHead + "driver: postgres, service: web, role: [a, b] } # here\n", "unknown key", ""},
	"target elsewhere":       {badHead + "    secrets:\n      - source: a # here\n        target: /etc/a\nsecrets: { a: { environment: A } }\n", `target "/etc/a": a secret lies directly in /run/secrets and nowhere else`, "have the program read /run/secrets/a"},
	"target climbing":        {badHead + "    secrets:\n      - source: a # here\n        target: /run/secrets/../a\nsecrets: { a: { environment: A } }\n", "directly in /run/secrets", "read /run/secrets/a"},
	"target deeper":          {badHead + "    secrets:\n      - source: a # here\n        target: /run/secrets/x/a\nsecrets: { a: { environment: A } }\n", "directly in /run/secrets", "read /run/secrets/a"},
	"target the folder":      {badHead + "    secrets:\n      - source: a # here\n        target: /run/secrets\nsecrets: { a: { environment: A } }\n", "directly in /run/secrets", ""},
	"target below":           {badHead + "    secrets:\n      - source: a # here\n        target: x/a\nsecrets: { a: { environment: A } }\n", "not a plain file name", "without a slash"},
	"hidden target":          {badHead + "    secrets:\n      - source: a # here\n        target: .stage\nsecrets: { a: { environment: A } }\n", "not a plain file name", "without a slash"},
	"same target":            {badHead + "    secrets:\n      - a\n      - source: b # here\n        target: a\nsecrets: { a: { environment: A }, b: { environment: B } }\n", "two secrets", ""},
	"uid":                    {badHead + "    secrets:\n      - source: a # here\n        uid: node\nsecrets: { a: { environment: A } }\n", `uid "node"`, "`id`"},
	"negative gid":           {badHead + "    secrets:\n      - source: a # here\n        gid: '-1'\nsecrets: { a: { environment: A } }\n", `gid "-1"`, ""},
	"huge uid":               {badHead + "    secrets:\n      - source: a # here\n        uid: '4294967295'\nsecrets: { a: { environment: A } }\n", `uid "4294967295"`, ""},
	"mode":                   {badHead + "    secrets:\n      - source: a # here\n        mode: 04755\nsecrets: { a: { environment: A } }\n", "permission bits", "mode: 0400"},
	"mode in decimal":        {badHead + "    secrets:\n      - source: a # here\n        mode: 440\nsecrets: { a: { environment: A } }\n", "mode 0670 lets others than the owner write", "leading zero"},
	"mode of a program":      {badHead + "    secrets:\n      - source: a # here\n        mode: 0555\nsecrets: { a: { environment: A } }\n", "mode 0555 makes a secret a program", "mode: 0400"},
	"mode for nobody":        {badHead + "    secrets:\n      - source: a # here\n        mode: 0\nsecrets: { a: { environment: A } }\n", "mode 0 lets nobody read", "mode: 0400"},
	"mount on top":           {badHead + "    secrets: [a]\n    tmpfs: # here\n      - /run/secrets\nsecrets: { a: { environment: A } }\n", "collides", ""},
	"container name twice":   {badHead + "    container_name: xy\n  yet:\n    image: x\n    container_name: xy # here\n", "too", ""},
	"config from nowhere":    {badHead + "configs:\n  a:\n    environment: A # here\n", "variable is not set: A", "[env]"},
	"openclaw without token": {badHead + "    x-minibot:\n      on_change: openclaw # here\n", "no secret has it", "driver: openclaw, service: web"},
	"openclaw of another":    {badHead + "    x-minibot:\n      on_change: openclaw # here\n  claw:\n    image: x\nsecrets:\n  a:\n    environment: A\n    x-minibot:\n      rotate: { driver: openclaw, service: claw }\n", "no secret has it", ""},
}

func TestLoadErrorsNameTheLine(t *testing.T) {
	for name, test := range badFiles {
		t.Run(name, func(t *testing.T) {
			file := writeCompose(t, test.text)
			_, err := Load(t.Context(), LoadOptions{File: file})
			var located *LoadError
			if !errors.As(err, &located) {
				t.Fatalf("%v (%T)", err, err)
			}
			before, _, _ := strings.Cut(test.text, "# here")
			if want := 1 + strings.Count(before, "\n"); located.Line != want {
				t.Errorf("line %d, want %d: %v", located.Line, want, err)
			}
			if located.File != file || !strings.HasPrefix(err.Error(), file) || strings.Count(err.Error(), file) != 1 {
				t.Errorf("file: %v", err)
			}
			if !strings.Contains(err.Error(), test.message) || strings.Contains(err.Error(), "\n") {
				t.Errorf("message: %v", err)
			}
			if hint.Of(err) == "" || !strings.Contains(hint.Of(err), test.hint) {
				t.Errorf("hint %q, want %q", hint.Of(err), test.hint)
			}
		})
	}
}

func TestLoadMissingFile(t *testing.T) {
	_, err := Load(t.Context(), LoadOptions{File: filepath.Join(t.TempDir(), "compose.yaml")})
	if !errors.Is(err, os.ErrNotExist) || hint.Of(err) == "" {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

func TestLoadTakesVariablesFromEnvOnly(t *testing.T) {
	t.Setenv("IMAGE", "process")
	dir := t.TempDir()
	for name, text := range map[string]string{".env": "IMAGE=dotenv\n", "compose.yaml": "name: x\nservices: { a: { image: \"${IMAGE:-default}\" } }\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		env  map[string]string
		want string
	}{{nil, "default"}, {map[string]string{"IMAGE": "given"}, "given"}} {
		p, err := Load(t.Context(), LoadOptions{File: filepath.Join(dir, "compose.yaml"), Env: test.env})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Services["a"].Image; got != test.want {
			t.Errorf("image %q, want %q", got, test.want)
		}
	}
}

func TestParseAge(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{"90d": 90 * day, "12h": 12 * time.Hour, "2w3d4h": 17*day + 4*time.Hour, "30m": 30 * time.Minute,
		"": 0, "d": 0, "90": 0, "-1d": 0, "0d": 0, "1h1d": 0, "999999w": 0, "1y": 0} {
		got, err := ParseAge(text)
		if (err != nil) != (want == 0) || err == nil && got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestNoswap(t *testing.T) {
	for kernel, want := range map[string]bool{"6.4.0": true, "6.10.14-linuxkit": true, "7.0": true, "6.3.9": false, "5.15.0-91-generic": false, "6": false, "": false, "6.x": false} {
		if hasNoswap(kernel, nil) != want {
			t.Errorf("%q: not %v", kernel, want)
		}
	}
	if hasNoswap("6.10.0", []string{"name=seccomp,profile=default", "name=rootless"}) {
		t.Error("a rootless engine has noswap")
	}
}

func BenchmarkLoad(b *testing.B) {
	file := writeCompose(b, fullCompose)
	for b.Loop() {
		if _, err := Load(context.Background(), LoadOptions{File: file}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNamesSeccomp(t *testing.T) {
	const filters = "name=seccomp,profile=default"
	for _, test := range []struct {
		api, option string
		want        bool
	}{{"1.41", filters, false}, {"1.42", filters, true}, {"1.51", filters, true}, {"1.51", "name=apparmor", false}} {
		if namesSeccomp(test.api, []string{"name=apparmor", test.option}) != test.want {
			t.Errorf("%+v", test)
		}
	}
	p := load(t, fullCompose)
	for _, seccomp := range []bool{false, true} {
		k := (&Engine{seccomp: seccomp}).definition(p, nil).Services[KeeperService]
		if slices.Contains(k.SecurityOpt, "seccomp=builtin") != seccomp || !slices.Contains(k.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%v: %q", seccomp, k.SecurityOpt)
		}
	}
}

// writeBeside writes another file into the folder of a compose file.
func writeBeside(t testing.TB, file, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
