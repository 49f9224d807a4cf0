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

const lintSecrets = "secrets: { token: { environment: API_TOKEN }, DB: { environment: DB } }\n"

func TestZZ(t *testing.T) {
	for _, f := range lintFiles(t, map[string]string{"compose.yaml": lintSecrets + `name: x
x-base: &base
  environment: &env { A: "${API_TOKEN:-x}" }
x-list: &list
  environment: [API_TOKEN]
services:
  web:
    <<: *base
    image: "w:${API_TOKEN}"
    command: "run $API_TOKEN $$DB"
  api:
    image: a
    environment: { <<: *env, API_TOKEN: , B: "$token" }
    labels: [ "${API_TOKEN}=x", "a=${API_TOKEN}" ]
    healthcheck: { test: "redis-cli -a $API_TOKEN" }
    volumes: [ "${DB}:/data" ]
    networks: [ "${DB}" ]
    build: { context: ., args: [ API_TOKEN, "X=$DB" ] }
    configs: [c, d]
  lst:
    <<: *list
    image: b
    env_file: [a.env]
    ports: ["${DB}:80"]
configs: { c: { environment: DB }, d: { content: "x ${DB}" } }
`, "a.env": "API_TOKEN\nX=$DB\nDB=literal\nY='$DB'\nZ=\"a\n$API_TOKEN\"\n"}, nil) {
		t.Log(short(f), f.Message)
	}
	_ = slices.Sort[[]string]
	_ = strings.Contains
}
