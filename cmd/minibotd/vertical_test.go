package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"minibot/deploy"
)

// canaries are the values of the shipped stack's five secrets, and those that three of them change to.
var canaries = map[string]string{
	"POSTGRES_PASSWORD": "canary-postgres-one-51f0", "REDIS_PASSWORD": "canary-redis-one-51f0",
	"ANTHROPIC_API_KEY": "canary-anthropic-51f0", "TELEGRAM_BOT_TOKEN": "canary-telegram-51f0",
	"OPENCLAW_GATEWAY_TOKEN": "canary-gateway-one-51f0",
}

var changed = []struct{ name, value string }{
	{"POSTGRES_PASSWORD", "canary-postgres-two-51f0"},
	{"REDIS_PASSWORD", "canary-redis-two-51f0"},
	{"OPENCLAW_GATEWAY_TOKEN", "canary-gateway-two-51f0"},
}

// canary matches every value above, however the rest of it is.
var canary = regexp.MustCompile(`canary-(postgres|redis|anthropic|telegram|gateway)`)

// shipped is an installation of the shipped compose file with canaries as secrets.
func shipped(t *testing.T, engine string) (in *installation, gateway string) {
	t.Helper()
	gateway = freePort(t)
	in = install(t, engine, string(deploy.ComposeFile), map[string]string{
		"MINIBOT_POSTGRES_PORT": freePort(t), "MINIBOT_REDIS_PORT": freePort(t), "MINIBOT_OPENCLAW_PORT": gateway, "MINIBOT_TELEGRAM": "false",
	})
	var lines strings.Builder
	for name, value := range canaries {
		fmt.Fprintf(&lines, "%s=%s\n", name, value)
	}
	in.must(lines.String(), "mb-secrets", "init")
	return in, gateway
}

// TestVertical runs the whole of it once on the real parts: up, heal, change, stop, and nothing left in the clear.
func TestVertical(t *testing.T) {
	in, gateway := shipped(t, "")
	stop := watchProcesses(t)
	in.start()
	in.healthy(2 * time.Minute)
	in.vertical(gateway)
	stop()
	in.searchEverything()
	t.Run("an audit finds nothing", func(*testing.T) { in.auditsClean() })
	t.Run("the docs' commands", func(t *testing.T) { in.docsCommands(t) })
	in.must("", "minibotd", "stop")
	for _, name := range in.secretVolumes() {
		if files := in.filesOf(name); files != "" {
			t.Errorf("volume %s still holds %s", name, files)
		}
	}
}

// vertical kills a database, changes three secrets and proves each with the real client.
func (in *installation) vertical(gateway string) {
	in.t.Helper()
	before := in.started("postgres")
	in.docker("kill", in.container("postgres"))
	in.restarted("postgres", before)
	gatewaySince := in.started("openclaw")
	logins := map[string]func(string) bool{
		"POSTGRES_PASSWORD": in.postgresTakes, "REDIS_PASSWORD": in.redisTakes,
		"OPENCLAW_GATEWAY_TOKEN": func(token string) bool { return in.gatewayTakes(gateway, token) },
	}
	for _, c := range changed {
		login := logins[c.name]
		if !login(canaries[c.name]) {
			in.t.Errorf("%s: the first value is refused", c.name)
		}
		in.must(c.value, "mb-secrets", "set", c.name)
		if !login(c.value) {
			in.t.Errorf("%s: the new value is refused", c.name)
		}
		if login(canaries[c.name]) {
			in.t.Errorf("%s: the old value is still taken", c.name)
		}
		if login("canary-random") {
			in.t.Errorf("%s: any value is taken", c.name)
		}
	}
	if in.started("openclaw") != gatewaySince {
		in.t.Error("OpenClaw was restarted for its new token")
	}
	in.healthy(time.Second)
}

// postgresTakes logs in over the container's own network address, which Postgres does not trust.
func (in *installation) postgresTakes(password string) bool {
	cmd := in.dockerCommand(password+"\n", "exec", "-i", in.container("postgres"), "sh", "-c",
		`psql -W -X -q -h "$(hostname -i | cut -d' ' -f1)" -U minibot -d minibot -c "select 1"`)
	out, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "password authentication failed") {
		in.t.Errorf("psql: %v: %s", err, canary.ReplaceAll(out, nil))
	}
	return err == nil
}

func (in *installation) redisTakes(password string) bool {
	cmd := in.dockerCommand("AUTH "+password+"\nPING\n", "exec", "-i", in.container("redis"), "redis-cli")
	out, err := cmd.Output()
	return err == nil && strings.Contains(string(out), "PONG")
}

// gatewayTakes asks OpenClaw through its published port. It answers 200, 401, or a 5xx while its parts still start.
func (in *installation) gatewayTakes(port, token string) bool {
	in.t.Helper()
	var status int
	in.poll("an answer of the gateway", 30*time.Second, func() bool {
		r, err := http.NewRequestWithContext(in.t.Context(), http.MethodPost, "http://127.0.0.1:"+port+"/tools/invoke",
			strings.NewReader(`{"tool":"sessions_list","args":{}}`))
		if err != nil {
			in.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			in.t.Fatal(err)
		}
		_ = answer.Body.Close() // not read
		status = answer.StatusCode
		return status < 500
	}, func() string { return fmt.Sprint("HTTP status ", status) })
	if status != http.StatusOK && status != http.StatusUnauthorized {
		in.t.Errorf("the gateway answers %d", status)
	}
	return status == http.StatusOK
}

// How often watchProcesses looks, and for how many looks a process is new: it may be another program still.
const (
	processTick = 2 * time.Millisecond
	newLooks    = 100
)

// watchProcesses looks at the command line and environment of processes for the vertical's values, until stop is called.
func watchProcesses(t *testing.T) (stop func()) {
	return eachProcess(t, func(pid string) bool { return holdsSecret(t, pid) })
}

// eachProcess calls look with every process that is new, a number of times, and with all from time to time, until look
// returns true or stop is called.
func eachProcess(t *testing.T, look func(pid string) bool) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	looks, read := 0, 0
	done.Go(func() {
		tick := time.NewTicker(processTick)
		defer tick.Stop()
		seen := map[string]int{} // looks, by process id
		for ctx.Err() == nil {
			looks++
			entries, err := os.ReadDir("/proc")
			if err != nil {
				t.Errorf("no processes to look at: %v", err)
				return
			}
			now := map[string]int{}
			for _, entry := range entries {
				pid := entry.Name()
				if pid[0] < '0' || pid[0] > '9' {
					continue
				}
				if now[pid] = seen[pid] + 1; now[pid] > newLooks && now[pid]%newLooks != 0 {
					continue
				}
				read++
				if look(pid) {
					return
				}
			}
			seen = now
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
		if looks < 10 || read < 10 {
			t.Errorf("only %d looks at the processes, and %d of them read", looks, read)
		}
	}
}

// holdsSecret reads the command line and the environment of a process, if it is still there.
func holdsSecret(t *testing.T, pid string) bool {
	for _, name := range []string{"cmdline", "environ"} {
		path := filepath.Join("/proc", pid, name)
		if data, err := os.ReadFile(path); err == nil && canary.Match(data) {
			t.Errorf("%s (%s) holds a secret", path, bytes.ReplaceAll(firstOf(os.ReadFile(filepath.Join("/proc", pid, "cmdline"))), []byte{0}, []byte(" ")))
			return true
		}
	}
	return false
}

func firstOf(data []byte, _ error) []byte { return data }

// searchEverything looks for the values in all that the run left behind on disk and in the engine's answers.
func (in *installation) searchEverything() {
	in.t.Helper()
	search := func(what, text string) {
		if text == "" {
			in.t.Errorf("%s is empty: nothing was searched", what)
		}
		if at := canary.FindString(text); at != "" {
			in.t.Errorf("%s holds %s…", what, at)
		}
	}
	for _, name := range []string{"postgres", "redis", "openclaw"} {
		c := in.container(name)
		search("docker inspect "+c, in.docker("inspect", c))
		search("docker logs "+c, in.docker("logs", c))
		in.searchTree(strings.TrimSpace(in.docker("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", c)), 0)
	}
	for _, name := range strings.Fields(in.docker("volume", "ls", "-q", "--filter", "label=com.docker.compose.project="+in.name)) {
		search("docker volume inspect "+name, in.docker("volume", "inspect", name))
		if !strings.Contains(name, "_secrets") {
			in.searchTree(strings.TrimSpace(in.docker("volume", "inspect", "-f", "{{.Mountpoint}}", name)), 1)
		}
	}
	search("the daemon's log", in.log.String())
	search("minibotd events", in.must("", "minibotd", "events"))
	search("minibotd status", in.must("", "minibotd", "status", "--json"))
	search("minibotd logs", in.must("", "minibotd", "logs", "--tail", "1000"))
	search("mb-secrets list", in.must("", "mb-secrets", "list", "--json"))
	in.searchTree(in.home, 5)
	for _, value := range canaries {
		if !canary.MatchString(value) {
			in.t.Errorf("the search would not find %s", value)
		}
	}
}

// searchTree reads every file below a folder of the disk, which must hold so many at least.
func (in *installation) searchTree(root string, least int) {
	in.t.Helper()
	files := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if canary.Match(data) {
			in.t.Errorf("%s holds %s…", path, canary.Find(data))
		}
		return err
	})
	if err != nil || files < least {
		in.t.Errorf("search below %s: %d files, %v", root, files, err)
	}
}

// secretVolumes are the memory-backed volumes of the project.
func (in *installation) secretVolumes() []string {
	in.t.Helper()
	var names []string
	for _, name := range strings.Fields(in.docker("volume", "ls", "-q", "--filter", "label=com.docker.compose.project="+in.name)) {
		if strings.Contains(name, "_secrets") {
			names = append(names, name)
		}
	}
	return names
}

// filesOf lists what a volume holds, as a container would see it.
func (in *installation) filesOf(volume string) string {
	in.t.Helper()
	return strings.TrimSpace(in.docker("run", "--rm", "--network=none", "--entrypoint=find", "-v", volume+":/v:ro", image("MINIBOT_REDIS_IMAGE"), "/v", "-type", "f"))
}

func cacheDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("MINIBOT_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "minibot")
}

// script runs one of the project's scripts and returns what it prints.
func script(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command("../../scripts/"+name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scripts/%s %s: %v: %s", name, strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(string(out))
}
