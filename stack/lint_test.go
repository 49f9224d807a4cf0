package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lintFiles writes files into a folder and lints its compose.yaml.
func lintFiles(t testing.TB, files map[string]string, env map[string]string) []Finding {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	findings, err := Lint(t.Context(), LoadOptions{File: filepath.Join(dir, "compose.yaml"), Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

// short is a finding as the tests write it.
func short(f Finding) string {
	return fmt.Sprintf("%s %s:%d %s", f.Secret, filepath.Base(f.File), f.Line, f.Path)
}

// lintHead is three lines; what a test adds begins on line 4, within service web.
const lintHead = "secrets: { token: { environment: API_TOKEN }, DB: { environment: DB } }\nservices:\n  web: { image: a }\n"

// web is a file whose service web has the given lines from line 4 on.
func web(lines ...string) string {
	return strings.Replace(lintHead, "web: { image: a }", "web:", 1) + "    image: a\n    " + strings.Join(lines, "\n    ") + "\n"
}

// top is a file with the given lines at the top level from line 4 on.
func top(lines ...string) string { return lintHead + strings.Join(lines, "\n") + "\n" }

// exposedFiles are ways to pass a secret on, each with what is found; the first line that a test adds to a service is 5, to the
// top 4.
var exposedFiles = map[string]struct {
	text  string
	more  map[string]string // other files
	finds []string
}{
	"environment, map":             {web(`environment: { A: "x${API_TOKEN}y" }`), nil, []string{"API_TOKEN compose.yaml:5 services.web.environment.A"}},
	"environment, list":            {web(`environment:`, `- A=1`, `- B=$API_TOKEN`), nil, []string{"API_TOKEN compose.yaml:7 services.web.environment.B"}},
	"environment, by name":         {web(`environment:`, `- A=1`, `- API_TOKEN`), nil, []string{"API_TOKEN compose.yaml:7 services.web.environment.API_TOKEN"}},
	"environment, null":            {web(`environment:`, `  A: 1`, `  API_TOKEN:`), nil, []string{"API_TOKEN compose.yaml:7 services.web.environment.API_TOKEN"}},
	"environment, by key":          {web(`environment: { A: "$token" }`), nil, []string{"API_TOKEN compose.yaml:5 services.web.environment.A"}},
	"with a default":               {web(`environment: { A: "${API_TOKEN:-none}" }`), nil, []string{"API_TOKEN compose.yaml:5 services.web.environment.A"}},
	"with an error":                {web(`environment: { A: "${API_TOKEN:?must be set}" }`), nil, []string{"API_TOKEN compose.yaml:5 services.web.environment.A"}},
	"with a presence":              {web(`environment: { A: "${API_TOKEN:+yes}" }`), nil, []string{"API_TOKEN compose.yaml:5 services.web.environment.A"}},
	"within a default":             {web(`environment: { A: "${B:-${C:-$API_TOKEN}}" }`), nil, []string{"API_TOKEN compose.yaml:5 services.web.environment.A"}},
	"two in one":                   {web(`environment: { A: "$API_TOKEN:$DB" }`), nil, []string{"API_TOKEN compose.yaml:5 services.web.environment.A", "DB compose.yaml:5 services.web.environment.A"}},
	"command, text":                {web(`command: serve --token $API_TOKEN`), nil, []string{"API_TOKEN compose.yaml:5 services.web.command"}},
	"command, list":                {web(`command:`, `- serve`, `- --token=${API_TOKEN}`), nil, []string{"API_TOKEN compose.yaml:7 services.web.command.1"}},
	"entrypoint":                   {web(`entrypoint: [sh, -c, "x $DB"]`), nil, []string{"DB compose.yaml:5 services.web.entrypoint.2"}},
	"labels, map":                  {web(`labels: { a: "$DB" }`), nil, []string{"DB compose.yaml:5 services.web.labels.a"}},
	"labels, list":                 {web(`labels: [ "a=$DB" ]`), nil, []string{"DB compose.yaml:5 services.web.labels.a"}},
	"labels, key":                  {web(`labels: [ "$DB=a" ]`), nil, []string{"DB compose.yaml:5 services.web.labels.0"}},
	"labels, key of a map":         {web(`labels: { "${DB}": a }`), nil, []string{"DB compose.yaml:5 services.web.labels.${DB}"}},
	"healthcheck":                  {web(`healthcheck: { test: [CMD-SHELL, "redis-cli -a $DB ping"] }`), nil, []string{"DB compose.yaml:5 services.web.healthcheck.test.1"}},
	"healthcheck, text":            {web(`healthcheck:`, `  test: redis-cli -a $DB ping`), nil, []string{"DB compose.yaml:6 services.web.healthcheck.test"}},
	"build args":                   {web(`build: { context: ., args: { A: "$DB" } }`), nil, []string{"DB compose.yaml:5 services.web.build.args.A"}},
	"build args, by name":          {web(`build: { context: ., args: [DB] }`), nil, []string{"DB compose.yaml:5 services.web.build.args.DB"}},
	"build args, null":             {web(`build: { context: ., args: { DB: } }`), nil, []string{"DB compose.yaml:5 services.web.build.args.DB"}},
	"image":                        {web(`container_name: "x-$DB"`), nil, []string{"DB compose.yaml:5 services.web.container_name"}},
	"volume":                       {web(`volumes: [ "./${DB}:/x" ]`), nil, []string{"DB compose.yaml:5 services.web.volumes.0.source"}},
	"network of a service":         {web(`networks: [ "$DB" ]`), nil, []string{"DB compose.yaml:5 services.web.networks.${DB}"}},
	"port":                         {web(`ports: [ "${DB}:80" ]`), nil, []string{"DB compose.yaml:5 services.web.ports.0"}},
	"deploy labels":                {web(`deploy: { labels: { a: "$DB" } }`), nil, []string{"DB compose.yaml:5 services.web.deploy.labels.a"}},
	"extra hosts":                  {web(`extra_hosts: [ "$DB:127.0.0.1" ]`), nil, []string{"DB compose.yaml:5 services.web.extra_hosts.0"}},
	"logging":                      {web(`logging: { options: { tag: "$DB" } }`), nil, []string{"DB compose.yaml:5 services.web.logging.options.tag"}},
	"a profile that is not active": {web(`profiles: [never]`, `environment: [DB]`), nil, []string{"DB compose.yaml:6 services.web.environment.DB"}},
	"extension of a service":       {web(`x-note: "$DB"`), nil, []string{"DB compose.yaml:5 services.web.x-note"}},
	"env_file, by name":            {web(`env_file: a.env`), map[string]string{"a.env": "A=1\nDB\n"}, []string{"DB compose.yaml:5 services.web.env_file"}},
	"env_file, interpolated":       {web(`env_file: [a.env]`), map[string]string{"a.env": "URL=redis://:$DB@redis\n"}, []string{"DB compose.yaml:5 services.web.env_file"}},
	"env_file, literal":            {web(`env_file: [{ path: a.env, required: false }]`), map[string]string{"a.env": "export DB=canary-literal\n"}, []string{"DB compose.yaml:5 services.web.env_file"}},
	"env_file, several lines":      {web(`env_file: a.env`), map[string]string{"a.env": "A=\"x\n  $DB\"\n"}, []string{"DB compose.yaml:5 services.web.env_file"}},
	"env_file, no escape":          {web(`env_file: a.env`), map[string]string{"a.env": "A=\\$DB\n"}, []string{"DB compose.yaml:5 services.web.env_file"}},
	"env_file, two lines":          {web(`env_file: a.env`), map[string]string{"a.env": "DB\nX=$API_TOKEN\n"}, []string{"DB compose.yaml:5 services.web.env_file", "API_TOKEN compose.yaml:5 services.web.env_file"}},
	"config, content":              {top(`configs:`, `  c:`, `    content: "pw ${DB}"`), nil, []string{"DB compose.yaml:6 configs.c.content"}},
	"config, by name":              {top(`configs:`, `  c: { environment: DB }`), nil, []string{"DB compose.yaml:5 configs.c.environment"}},
	"network options":              {top(`networks:`, `  n: { driver_opts: { k: "$DB" } }`), nil, []string{"DB compose.yaml:5 networks.n.driver_opts.k"}},
	"volume options":               {top(`volumes:`, `  v: { driver_opts: { o: "password=$DB" } }`), nil, []string{"DB compose.yaml:5 volumes.v.driver_opts.o"}},
	"project name":                 {top(`name: "x$DB"`), nil, []string{"DB compose.yaml:4 name"}},
	"extension":                    {top(`x-note: "$DB"`), nil, []string{"DB compose.yaml:4 x-note"}},
	"description of a secret":      {"secrets: { DB: { environment: DB, x-minibot: { description: \"is $DB\" } } }\nservices: { a: { image: a } }\n", nil, []string{"DB compose.yaml:1 secrets.DB.x-minibot.description"}},
	"anchor and merge": {"x-base: &b\n  environment: { A: \"$DB\" }\nservices:\n  a:\n    <<: *b\n    image: a\n  b:\n    <<: *b\n    image: b\nsecrets: { DB: { environment: DB } }\n", nil,
		[]string{"DB compose.yaml:2 services.a.environment.A", "DB compose.yaml:2 services.b.environment.A"}},
	"anchor, by name": {"x-env: &e [DB]\nservices:\n  a:\n    image: a\n    environment: *e\nsecrets: { DB: { environment: DB } }\n", nil,
		[]string{"DB compose.yaml:1 services.a.environment.DB"}},
	"merge within a map": {"x-env: &e\n  A: \"$DB\"\nservices:\n  a:\n    image: a\n    environment:\n      <<: *e\n      B: 1\nsecrets: { DB: { environment: DB } }\n", nil,
		[]string{"DB compose.yaml:2 services.a.environment.A"}},
	"extends in the file": {top(`  all: { extends: web, command: a }`, `  web2: { extends: { service: lower } }`, `  lower:`, `    image: x`, `    environment: [DB]`), nil,
		[]string{"DB compose.yaml:8 services.lower.environment.DB", "DB compose.yaml:8 services.web2.environment.DB"}},
	"extends another file": {top(`  all: { extends: { file: base.yaml, service: base } }`), map[string]string{"base.yaml": "services:\n  base:\n    image: x\n    command: run $DB\n"},
		[]string{"DB base.yaml:4 services.all.command"}},
	"extends a file by a variable": {top(`  all: { extends: { file: "${NAME:-base}.yaml", service: base } }`), map[string]string{"base.yaml": "services:\n  base:\n    image: x\n    command: run $DB\n"},
		[]string{"DB base.yaml:4 services.all.command"}}, // by placeholder alone
	"anchor that does not load": {"x-base: &b\n  ports: [ \"${DB}:80\" ]\nservices:\n  a: { <<: *b, image: a }\nsecrets: { DB: { environment: DB } }\n", nil,
		[]string{"DB compose.yaml:2 services.a.ports.0"}}, // with nothing interpolated alone
	"includes another file": {top(`include: [more.yaml]`), map[string]string{"more.yaml": "services:\n  more:\n    image: x\n    command: run $DB\n"},
		[]string{"DB more.yaml:4 services.more.command"}},
	"declared in an included file": {"include: [{ path: more.yaml }]\nservices: { a: { image: a, command: \"$DB\" } }\n", map[string]string{"more.yaml": "secrets: { DB: { environment: DB } }\n"},
		[]string{"DB compose.yaml:2 services.a.command"}},
	"variables of an included file": {top(`include: [{ path: more.yaml, env_file: more.env }]`), map[string]string{"more.yaml": "services: { more: { image: x } }\n", "more.env": "DB=canary-literal\n"},
		[]string{"DB compose.yaml:4 include.0.env_file"}},
	".env beside an included file": {top(`include: [more.yaml]`), map[string]string{"more.yaml": "services: { more: { image: x } }\n", ".env": "DB=canary-literal\n"},
		[]string{"DB compose.yaml:4 include.0"}},
	"second document":              {top(`---`, `services:`, `  web: { environment: [DB] }`), nil, []string{"DB compose.yaml:6 services.web.environment.DB"}},
	"overridden by a document":     {web(`command: "$DB"`) + "---\nservices: { web: { command: !override ok } }\n", nil, []string{"DB compose.yaml:5 services.web.command"}},
	"in a file that does not load": {web(`comand: 1`, `command: "${"`, `entrypoint: "$DB"`, `environment: [DB]`), nil, []string{"DB compose.yaml:7 services.web.entrypoint", "DB compose.yaml:8 services.web.environment.DB"}},
	"extends a file of no name":    {web(`extends: { file: "${NOWHERE}.yaml", service: x }`, `entrypoint: "$DB"`), nil, []string{"DB compose.yaml:6 services.web.entrypoint"}},
}

func TestEveryWayToPassASecretOnIsFound(t *testing.T) {
	for name, test := range exposedFiles {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"compose.yaml": test.text}
			for other, text := range test.more {
				files[other] = text
			}
			var got []string
			for _, f := range lintFiles(t, files, nil) {
				got = append(got, short(f))
				if f.Code != CodeExposed || f.Message == "" || strings.Contains(f.String(), "\n") || strings.HasPrefix(f.Path, "services.") == (f.Service == "") {
					t.Errorf("%+v", f)
				}
				if strings.Contains(f.String(), "canary-literal") {
					t.Errorf("a literal is quoted: %s", f)
				}
			}
			slices.Sort(got)
			slices.Sort(test.finds)
			if !slices.Equal(got, test.finds) {
				t.Errorf("found\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(test.finds, "\n  "))
			}
		})
	}
}

// What is no exposure: a shell's own variable, a secret in its place, a name alone where Compose puts no value.
func TestWhatPassesNothingOnIsLeftAlone(t *testing.T) {
	for name, text := range map[string]string{
		"shell variable":        web(`command: sh -c 'exec x "$$DB" "$${API_TOKEN}"'`, `environment: { A: "$$DB" }`),
		"reads the file":        web(`secrets: [token, DB]`, `entrypoint: ["sh", "-c", "export DB=\"$$(cat /run/secrets/DB)\"; exec app"]`),
		"name of a file":        web(`secrets: [DB]`, `environment: { DB_FILE: /run/secrets/DB, DB: literal }`),
		"other variables":       web(`image: "${IMAGE:-a}"`, `environment: { A: "${DBX:-}${XDB:-}", B: "${db:-}" }`),
		"a word":                web(`command: [DB, API_TOKEN]`, `labels: [DB]`, `profiles: [DB]`),
		"extension of its name": web(`x-environment: [DB]`) + "x-env: [DB]\n",
		"comment":               web(`command: a # $DB`),
		"no secrets":            "services: { a: { image: \"${DB:-a}\", environment: [DB] } }\n",
	} {
		if findings := lintFiles(t, map[string]string{"compose.yaml": text}, nil); len(findings) > 0 {
			t.Errorf("%s: %v", name, findings)
		}
	}
	env := map[string]string{"token": "not a secret"}
	if findings := lintFiles(t, map[string]string{"compose.yaml": web(`image: "x:$token"`)}, env); len(findings) > 0 {
		t.Errorf("a variable of [env] that is called as a secret's key: %v", findings)
	}
	files := map[string]string{"compose.yaml": web(`env_file: [a.env, { path: raw.env, format: raw }, { path: none.env, required: false }]`),
		"a.env": "# DB=x\nDB=\nA='$DB'\nDBX=1\nB=\"\\$DB\"\n", "raw.env": "A=$DB\n"}
	if findings := lintFiles(t, files, nil); len(findings) > 0 {
		t.Errorf("env_file: %v", findings)
	}
}

func TestFindingsSayWhatToWriteInstead(t *testing.T) {
	for text, want := range map[string]string{
		`environment: [API_TOKEN]`:                  "list token under the service's `secrets:` and have the service read /run/secrets/token",
		`command: "run $API_TOKEN"`:                 `"$$(cat /run/secrets/token)"; where a variable of the container is meant, write $$API_TOKEN`,
		`healthcheck: { test: "redis-cli -a $DB" }`: "write $$DB for a variable of the container, or \"$$(cat /run/secrets/DB)\"",
		`build: { context: ., args: [DB] }`:         "image's history",
		`labels: { a: $DB }`:                        "label",
		`env_file: a.env`:                           "a.env:1 passes DB on",
	} {
		findings := lintFiles(t, map[string]string{"compose.yaml": web(text), "a.env": "DB\n"}, nil)
		if len(findings) != 1 || !strings.Contains(findings[0].Message, want) {
			t.Errorf("%s: %v", text, findings)
		}
	}
}

func TestNamesWithControlCharactersAreWrittenOut(t *testing.T) {
	findings := lintFiles(t, map[string]string{"compose.yaml": web(`labels: { "a\e[2J\n\u202E": "$DB" }`)}, nil)
	if len(findings) != 1 || findings[0].Path != `services.web.labels.a\x1b[2J\n\u202e` {
		t.Errorf("%+v", findings)
	}
	file := writeCompose(t, "services: { \"a\\e[2J\": { image: a, comand: x } }\n")
	findings, err := Check(t.Context(), LoadOptions{File: file})
	if err != nil || len(findings) != 1 || strings.ContainsAny(findings[0].String(), "\x1b\n") {
		t.Errorf("%q %v", findings, err)
	}
}

// Neither way of looking is enough: what is not interpolated says nothing of what Compose makes of it, and a placeholder
// nothing of what cannot be loaded with one.
func TestEachWayOfLookingFindsWhatTheOtherMisses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"base.yaml": "services: { base: { image: x, command: \"$DB\" } }\n",
		"compose.yaml": "services:\n  a: { image: a, extends: { file: \"${NAME:-base}.yaml\", service: base } }\n" +
			"secrets: { DB: { environment: DB } }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	static, filled := lookBothWays(t, filepath.Join(dir, "compose.yaml"))
	if len(static) != 0 || len(filled) != 1 {
		t.Errorf("a file that is named by a variable: static %v, by placeholder %v", static, filled)
	}
	static, filled = lookBothWays(t, writeCompose(t, web(`ports: [ "${DB}:80" ]`)))
	if len(static) != 1 || len(filled) != 0 {
		t.Errorf("no port with a placeholder: static %v, by placeholder %v", static, filled)
	}
}

// lookBothWays returns what each way of looking finds by itself.
func lookBothWays(t *testing.T, file string) (static, filled []mention) {
	t.Helper()
	from, err := readSources(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	for way, found := range map[string]*[]mention{"static": &static, "filled": &filled} {
		l := &linter{file: file, from: from}
		model, err := l.model(t.Context(), nil)
		l.targets = l.required(model)
		if way == "static" && err == nil {
			l.searchModel(model, l.mentioned)
		}
		env, err := l.hold()
		if err != nil {
			t.Fatal(err)
		}
		if model, err := l.model(t.Context(), env); way == "filled" && err == nil {
			l.searchModel(model, l.held)
		}
		*found = l.found
	}
	return static, filled
}
