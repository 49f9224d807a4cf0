package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"minibot/control"
	"minibot/hint"
)

// rule is what the permissions of a file of the installation must keep from others.
type rule struct {
	path   string
	others fs.FileMode // bits that nobody else may have
	mode   string      // what chmod sets
	why    string
}

// permissions checks owner and mode of what the installation consists of. What is not there has none.
func (r *run) permissions(ctx context.Context) error {
	p := r.Paths
	rules := []rule{
		{p.Home, 0o077, "700", "they can list the installation, or reach into it"},
		{p.RunDir, 0o077, "700", "they can reach the daemon's socket"},
		{p.StateDir, 0o077, "700", "they can read or change the daemon's journal"},
		{p.LogDir, 0o022, "go-w", "they can put other logs there"},
		{p.Socket, 0o177, "600", "they can talk to the daemon, which then has only their user id to refuse them by"},
		{filepath.Join(p.Home, "store.age"), 0o177, "600", "they can take the encrypted secrets away, or replace them"},
		{filepath.Join(p.Home, "age.key"), 0o177, "600", "they can decrypt every secret"},
		{p.Config, 0o022, "go-w", "they can choose the engine and the compose file that get the secrets"},
		{p.Compose, 0o022, "go-w", "they can give every secret to a container of theirs"},
		{filepath.Dir(p.Compose), 0o022, "go-w", "they can put another compose file there"},
	}
	for _, dir := range [...]string{p.RunDir, p.StateDir} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.incomplete(dir, err)
		}
		for _, entry := range entries {
			if path := filepath.Join(dir, entry.Name()); path != p.Socket && !entry.IsDir() {
				rules = append(rules, rule{path, 0o177, "600", "they can read or change what the daemon keeps"})
			}
		}
	}
	checked := map[string]bool{}
	for _, rule := range rules {
		if checked[rule.path] {
			continue
		}
		checked[rule.path] = true
		if err := r.check(rule); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *run) check(rule rule) error {
	info, err := os.Lstat(rule.path)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		info, err = os.Stat(rule.path) // a link has no mode of its own, and what it leads to counts
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		r.incomplete(rule.path, err)
		return nil
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return r.found(control.Finding{Code: "owner", Severity: control.SeverityHigh, Place: rule.path,
			Message: fmt.Sprintf("it belongs to uid %d, not to %d: %s", st.Uid, os.Geteuid(), rule.why),
			Hint:    fmt.Sprintf("`sudo chown %d %s`", os.Geteuid(), hint.Word(rule.path))})
	}
	open := info.Mode().Perm() & rule.others
	if open&0o077 == 0 {
		return nil
	}
	severity := control.SeverityHigh
	if open&0o022 == 0 && rule.others == 0o077 && rule.path == r.Paths.Home {
		severity = control.SeverityMedium // they see names; what matters in it is checked by itself
	}
	return r.found(control.Finding{Code: "permissions", Severity: severity, Place: rule.path,
		Message: fmt.Sprintf("it has mode %04o, open to other users: %s", info.Mode().Perm(), rule.why),
		Hint:    fmt.Sprintf("`chmod %s %s`", rule.mode, hint.Word(rule.path))})
}
