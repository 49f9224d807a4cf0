package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"minibot/hint"
)

// temporary are folders that are emptied at a start or when their time is over.
var temporary = []string{"/tmp", "/private/tmp", "/var/tmp", "/private/var/tmp", "/var/folders", "/private/var/folders", "/dev/shm"}

// Program returns the path under which the manager is to start the running program, executable being what [os.Executable] says:
// the file itself, and for one of Homebrew the name below opt that stays the same over its upgrades. A program in a folder for
// temporary files, where `go run` puts it, is an ErrTemporary.
func Program(executable string) (string, error) {
	path, err := filepath.EvalSymlinks(executable)
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	for _, dir := range append(temporary, os.TempDir()) {
		if below(path, dir) || strings.Contains(path, "/go-build") {
			return "", hint.Wrap(ErrTemporary, "put it where it can stay (`make install` does), or name it with --program PATH")
		}
	}
	return brewed(path), nil
}

// brewed returns PREFIX/opt/NAME/REST for PREFIX/Cellar/NAME/VERSION/REST, where that is the same file.
func brewed(path string) string {
	prefix, rest, found := strings.Cut(path, "/Cellar/")
	parts := strings.SplitN(rest, "/", 3)
	if !found || len(parts) < 3 {
		return path
	}
	linked := filepath.Join(prefix, "opt", parts[0], parts[2])
	if target, err := filepath.EvalSymlinks(linked); err != nil || target != path {
		return path
	}
	return linked
}

func below(path, dir string) bool {
	return dir != "" && strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// Version runs the program and returns what it says its version is. So an installation never replaces one that runs by one that
// cannot, of another architecture say.
func Version(ctx context.Context, program string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second) // macOS looks a new program over before its first start
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "version").Output()
	version, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "minibotd ")
	if err == nil && (!ok || strings.ContainsAny(version, "\n\x1b")) {
		err = errors.New("it is not minibotd")
	}
	if err != nil {
		return "", hint.Wrap(fmt.Errorf("try the program %s: %w", program, err), "run `%s version`; nothing was changed", program)
	}
	return version, nil
}

// Exposed says in words who else could replace the program: anybody who may write to it or to a folder above it.
func Exposed(program string) []string {
	var found []string
	for path := program; ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			return found // what cannot be looked at is found when it is run
		}
		if bits := info.Mode(); bits&0o002 != 0 && bits&os.ModeSticky == 0 {
			found = append(found, fmt.Sprintf("every user can replace the program: %s is writable for all (chmod o-w %s)", path, path))
		} else if st, ok := info.Sys().(*syscall.Stat_t); ok && bits&0o020 != 0 && bits&os.ModeSticky == 0 && !trusted(int(st.Gid)) {
			found = append(found, fmt.Sprintf("other users can replace the program: %s is writable for its group (chmod g-w %s)", path, path))
		} else if ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			found = append(found, fmt.Sprintf("another user can replace the program: %s belongs to uid %d", path, st.Uid))
		}
		if path == filepath.Dir(path) {
			return found
		}
	}
}

// trusted are the groups wheel or root, admin of macOS, whose members can become root, and one that is the user's alone.
func trusted(gid int) bool {
	const admin = 80
	return gid == 0 || gid == admin || gid == os.Getgid() && os.Getgid() == os.Getuid()
}
