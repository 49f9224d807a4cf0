package emulation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// order tells the proxy what to become, as launchd tells xpcproxy.
type order struct {
	Program               string
	Arguments             []string
	Environment           []string
	Dir                   string // "" is /
	Umask                 int
	Stdin, Stdout, Stderr string // "" is /dev/null
}

// softFiles is the limit on open files that launchd gives an agent.
const softFiles = 256

// orderDescriptor is where the proxy finds its order.
const orderDescriptor = 3

// startProxy starts the proxy in a session of its own.
func startProxy(program string, o order) (*exec.Cmd, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("start an agent: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start an agent: %w", err)
	}
	defer func() { _ = r.Close() }()
	cmd := exec.Command(program) //nolint:gosec,noctx // ends with the server
	cmd.Env, cmd.ExtraFiles = []string{}, []*os.File{r}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("start an agent: %w", err)
	}
	_, err = w.Write(data)
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = cmd.Process.Kill()
		return cmd, nil //nolint:nilerr // its end tells
	}
	return cmd, nil
}

// Proxy becomes what the order on descriptor 3 says. It returns only when that cannot be done, with the exit status that
// launchd reports then, EX_CONFIG.
func Proxy() int {
	const exConfig = 78
	f := os.NewFile(orderDescriptor, "order")
	data, err := io.ReadAll(f)
	_ = f.Close()
	var o order
	if err != nil || json.Unmarshal(data, &o) != nil {
		return exConfig
	}
	signal.Notify(make(chan os.Signal, 1)) // an agent ignores no signal, although a test may, under nohup say: what is caught is default after an exec
	syscall.Umask(o.Umask)
	for _, file := range []struct {
		path       string
		descriptor int
		flags      int
	}{{o.Stdin, 0, os.O_RDONLY}, {o.Stdout, 1, os.O_WRONLY | os.O_APPEND | os.O_CREATE}, {o.Stderr, 2, os.O_WRONLY | os.O_APPEND | os.O_CREATE}} {
		if file.path == "" {
			continue
		}
		opened, err := os.OpenFile(file.path, file.flags, 0o666)
		if err != nil || unix.Dup2(int(opened.Fd()), file.descriptor) != nil {
			return exConfig
		}
		_ = opened.Close()
	}
	if os.Chdir(cmp.Or(o.Dir, "/")) != nil {
		return exConfig
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = softFiles
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
			return exConfig
		}
	}
	_ = syscall.Exec(o.Program, o.Arguments, o.Environment)
	return exConfig
}

// environment is what launchd gives an agent: its own, what `launchctl setenv` set, and the property list's.
func (s *Server) environment(a *agent) []string {
	all := map[string]string{
		"HOME":                    s.config.UserHome,
		"USER":                    s.config.UserName,
		"LOGNAME":                 s.config.UserName,
		"SHELL":                   s.config.Shell,
		"PATH":                    "/usr/bin:/bin:/usr/sbin:/sbin",
		"TMPDIR":                  filepath.Join(s.config.Dir, "T") + "/",
		"SSH_AUTH_SOCK":           filepath.Join(s.config.Dir, "Listeners"),
		"XPC_FLAGS":               "0x0",
		"XPC_SERVICE_NAME":        a.Label,
		"__CF_USER_TEXT_ENCODING": "0x1F5:0x0:0x0",
		"OSLogRateLimit":          "64",
	}
	maps.Copy(all, s.variables)
	maps.Copy(all, a.EnvironmentVariables)
	out := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, name+"="+all[name])
	}
	return out
}
