package deploy_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"minibot/deploy"
)

type service struct {
	Entrypoint  []string          `yaml:"entrypoint"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	CapAdd      []string          `yaml:"cap_add"`
	SecurityOpt []string          `yaml:"security_opt"`
	Image       string            `yaml:"image"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

func compose(t *testing.T) map[string]service {
	t.Helper()
	var file struct {
		Services map[string]service `yaml:"services"`
	}
	if err := yaml.Unmarshal(deploy.ComposeFile, &file); err != nil {
		t.Fatal(err)
	}
	return file.Services
}

// image is the one that the machine has: scripts/images names it, or else it is the file's default.
func image(t *testing.T, s service) string {
	t.Helper()
	m := regexp.MustCompile(`^\$\{(\w+):-(.+)\}$`).FindStringSubmatch(s.Image)
	if m == nil {
		t.Fatalf("image %q is not a variable with a default", s.Image)
	}
	out, err := exec.Command("../scripts/images", "--env").Output()
	if err != nil {
		t.Fatalf("scripts/images --env: %v; run scripts/prepare", err)
	}
	for line := range strings.Lines(string(out)) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), "="); k == m[1] {
			return v
		}
	}
	return m[2]
}

func docker(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("docker", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func mustDocker(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := docker(t, stdin, args...)
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", args[0], err, out)
	}
	return out
}

func unique(t *testing.T) string {
	t.Helper()
	b := make([]byte, 6)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return "mbdeploy-" + hex.EncodeToString(b)
}

// start runs a service as compose.yaml has it, its secret in a tmpfs volume. A nil value leaves the file out.
func start(t *testing.T, name, secret string, value *string) string {
	t.Helper()
	s, id := compose(t)[name], unique(t)
	img, holder, volume := image(t, s), id+"-holder", id+"-secrets"
	t.Cleanup(func() {
		_, err := docker(t, "", "rm", "-fv", id, holder)
		_, errv := docker(t, "", "volume", "rm", "-f", volume)
		if err := errors.Join(err, errv); err != nil {
			t.Errorf("clean up %s: %v", id, err)
		}
	})
	mustDocker(t, "", "volume", "create", "-d", "local", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,mode=0755", volume)
	mustDocker(t, "", "run", "-d", "--init", "--name", holder, "-v", volume+":/s", "--entrypoint", "sh", img, "-c", "sleep 600")
	if value != nil {
		mustDocker(t, *value, "exec", "-i", holder, "sh", "-c", "cat >/s/"+secret+" && chmod 0444 /s/"+secret)
	}
	args := []string{"run", "-d", "--name", id, "-v", volume + ":/run/secrets:ro", "--cap-drop", "ALL"}
	for _, o := range s.SecurityOpt {
		args = append(args, "--security-opt", o)
	}
	for _, c := range s.CapAdd {
		args = append(args, "--cap-add", c)
	}
	for k, v := range s.Environment {
		args = append(args, "-e", k+"="+v)
	}
	argv := append(append([]string{}, s.Entrypoint...), s.Command...)
	args = append(args, "--entrypoint", argv[0], img)
	for _, a := range argv[1:] {
		args = append(args, strings.ReplaceAll(a, "$$", "$"))
	}
	mustDocker(t, "", args...)
	return id
}

// healthy runs the service's own healthcheck.
func healthy(t *testing.T, name, id string) bool {
	t.Helper()
	test := compose(t)[name].Healthcheck.Test
	args := []string{"exec", id}
	if test[0] == "CMD-SHELL" {
		args = append(args, "sh", "-c", strings.ReplaceAll(test[1], "$$", "$"))
	} else {
		args = append(args, test[1:]...)
	}
	_, err := docker(t, "", args...)
	return err == nil
}

// exposed returns the processes whose argv or environment hold the text. The test itself has it in memory only.
func exposed(text string) []string {
	var found []string
	for _, kind := range []string{"environ", "cmdline"} {
		files, _ := filepath.Glob("/proc/[0-9]*/" + kind) // the pattern is well formed
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(text)) { // a process may have gone
				found = append(found, f)
			}
		}
	}
	return found
}

// awaitHealthy waits for the healthcheck and watches meanwhile that no process shows the secret.
func awaitHealthy(t *testing.T, name, id, secret string) {
	t.Helper()
	stop, watched := make(chan struct{}), make(chan []string)
	go func() {
		var found []string
		for {
			found = append(found, exposed(secret)...)
			select {
			case <-stop:
				watched <- found
				return
			default:
			}
		}
	}()
	ok := false
	for end := time.Now().Add(40 * time.Second); !ok && time.Now().Before(end); {
		ok = healthy(t, name, id)
	}
	close(stop)
	if found := <-watched; len(found) != 0 {
		t.Errorf("secret seen in %v", found)
	}
	if !ok {
		logs, _ := docker(t, "", "logs", id)
		t.Fatalf("%s did not become healthy:\n%s", name, logs)
	}
}

// login reports whether the password logs in over the container's own network address.
func login(t *testing.T, id, password string) bool {
	t.Helper()
	ip := mustDocker(t, "", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", id)
	_, err := docker(t, password, "exec", "-i", id, "sh", "-c", `PGPASSWORD=$(cat) psql -h "$0" -U minibot -d minibot -Atc 'select 1'`, ip)
	return err == nil
}

func TestPostgresTakesItsPasswordFromTheFileAlone(t *testing.T) {
	password := "canary-POSTGRES-" + unique(t) + ` a "b" 'c' $HOME $(id) \d é`
	id := start(t, "postgres", "POSTGRES_PASSWORD", &password)
	awaitHealthy(t, "postgres", id, password[:30])
	if !login(t, id, password) {
		t.Error("the right password is refused")
	}
	if login(t, id, "wrong") {
		t.Error("a wrong password is accepted")
	}
	env := mustDocker(t, "", "exec", "-u", "postgres", id, "sh", "-c", `tr '\0' '\n' </proc/1/environ | sed -n 's/^POSTGRES_PASSWORD=//p'`)
	if len(env) != 64 {
		t.Fatalf("throwaway has %d characters, want 64", len(env))
	}
	if login(t, id, env) {
		t.Error("the throwaway password is accepted")
	}
}

func TestMissingOrBadPasswordFileIsAnExit(t *testing.T) {
	empty, broken, long := "", "a\nb", strings.Repeat("x", 16385)
	for _, c := range []struct {
		what, service, secret string
		value                 *string
	}{
		{"missing", "postgres", "POSTGRES_PASSWORD", nil},
		{"empty", "postgres", "POSTGRES_PASSWORD", &empty},
		{"line break", "postgres", "POSTGRES_PASSWORD", &broken},
		{"missing", "redis", "REDIS_PASSWORD", nil},
		{"empty", "redis", "REDIS_PASSWORD", &empty},
		{"too long", "redis", "REDIS_PASSWORD", &long},
	} {
		t.Run(c.service+" "+c.what, func(t *testing.T) {
			if code := mustDocker(t, "", "wait", start(t, c.service, c.secret, c.value)); code != "78" {
				t.Errorf("exit code %s, want 78", code)
			}
		})
	}
}

func TestRedisTakesAnyPassword(t *testing.T) {
	for what, tail := range map[string]string{
		"plain": "", "quotes": ` a "b" 'c' $HOME $(id) \d`, "newline": "\nx\n", "utf8": " é漢", "limit": strings.Repeat("x", 16384-64),
	} {
		t.Run(what, func(t *testing.T) {
			password := "canary-REDIS-" + unique(t) + tail
			id := start(t, "redis", "REDIS_PASSWORD", &password)
			awaitHealthy(t, "redis", id, password[:30])
			out := mustDocker(t, "PING\n", "exec", "-i", id, "redis-cli")
			if !strings.Contains(out, "NOAUTH") {
				t.Errorf("without a password: %q", out)
			}
			out = mustDocker(t, "AUTH wrong\nPING\n", "exec", "-i", id, "redis-cli")
			if !strings.Contains(out, "WRONGPASS") || strings.Contains(out, "PONG") {
				t.Errorf("with a wrong password: %q", out)
			}
		})
	}
}

func TestShape(t *testing.T) {
	for name, s := range compose(t) {
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is not on 127.0.0.1", name, p)
			}
		}
		for _, v := range s.Volumes {
			if strings.HasPrefix(v, ".") || strings.HasPrefix(v, "/") || strings.HasPrefix(v, "~") {
				t.Errorf("%s: bind mount %s", name, v)
			}
		}
	}
	if m := regexp.MustCompile(`[^$]\$\{?(POSTGRES_PASSWORD|REDIS_PASSWORD|ANTHROPIC|TELEGRAM|OPENCLAW_GATEWAY)`).Find(deploy.ComposeFile); m != nil {
		t.Errorf("a secret is interpolated: %s", m)
	}
}
