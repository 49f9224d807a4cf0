package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"howett.net/plist"
)

const deep = 64 // folders below one another: all that a person makes

// always is a choice of every file.
func always(code string) func(string, bool) string {
	return func(string, bool) string { return code }
}

// ownFiles searches the installation: everything below its home but the store's own file and key, its logs, the compose file.
func (r *run) ownFiles(ctx context.Context) error {
	p := r.Paths
	if err := r.file(ctx, "secret-in-compose-file", p.Compose); err != nil {
		return err
	}
	if err := r.tree(ctx, p.LogDir, deep, always("secret-in-log")); err != nil {
		return err
	}
	return r.tree(ctx, p.Home, deep, func(path string, dir bool) string {
		switch within := strings.TrimPrefix(path, p.Home+"/"); {
		case within == "store.age", within == "age.key":
			return ""
		case path == p.Config:
			return "secret-in-config"
		case strings.HasPrefix(path, p.StateDir+"/"), strings.HasPrefix(path, p.RunDir+"/"):
			return "secret-in-state"
		case isEnvFile(filepath.Base(path)) && !dir:
			return "secret-in-env-file"
		case isCore(filepath.Base(path)):
			return "secret-in-core-dump"
		}
		return "secret-in-file"
	})
}

func isEnvFile(name string) bool {
	return name == ".env" || name == ".envrc" || strings.HasPrefix(name, ".env.") || strings.HasSuffix(name, ".env")
}

func isCore(name string) bool {
	return name == "core" || strings.HasPrefix(name, "core.") || strings.HasSuffix(name, ".core") || strings.HasPrefix(name, "crash")
}

// journal searches what minibotd wrote to the journal of systemd, where there is one.
func (r *run) journal(ctx context.Context) error {
	program, err := exec.LookPath("journalctl")
	if err != nil {
		return nil // no systemd, so the log is a file
	}
	const name = "journal of the unit minibotd"
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--user", "--unit=minibotd", "--output=cat", "--no-pager", "--quiet")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.incomplete(name, err)
		return nil
	}
	found := r.search(ctx, place{code: "secret-in-log", name: name}, out)
	if found != nil {
		cancel()
	}
	if err := cmd.Wait(); err != nil && found == nil {
		r.incomplete(name, fmt.Errorf("journalctl failed: %w", err))
	}
	return found
}

// userFile is a kind of file of the user: the entries of a folder, below the user's home, that match one of the patterns of path.Match.
type userFile struct {
	code, folder string
	patterns     []string
}

var userFiles = []userFile{
	{"secret-in-history", "", []string{".*_history*", ".*-history*", ".history*", ".zhistory*", ".histfile*", ".lesshst*", ".viminfo*", ".mycli-history*"}},
	{"secret-in-history", ".zsh_sessions", []string{"*"}},
	{"secret-in-history", ".bash_sessions", []string{"*"}},
	{"secret-in-history", ".config/fish", []string{"fish_history*"}},
	{"secret-in-history", ".local/share/fish", []string{"*history*"}},
	{"secret-in-history", ".local/share/zsh", []string{"*hist*"}},
	{"secret-in-history", ".local/state/zsh", []string{"*hist*"}},
	{"secret-in-history", ".local/state/bash", []string{"*hist*"}},
	{"secret-in-history", ".config/zsh", []string{".*hist*"}},
	{"secret-in-history", ".local/share/powershell/PSReadLine", []string{"*"}},
	{"secret-in-history", ".local/share/nvim/shada", []string{"*"}},
	{"secret-in-history", ".local/state/nvim/shada", []string{"*"}},
	{"secret-in-shell-startup", "", []string{".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".profile", ".zshrc", ".zshenv",
		".zprofile", ".zlogin", ".zlogout", ".kshrc", ".cshrc", ".tcshrc", ".login", ".xprofile", ".xsessionrc", ".pam_environment", ".inputrc"}},
	{"secret-in-shell-startup", ".config/fish", []string{"config.fish", "fish_variables"}},
	{"secret-in-shell-startup", ".config/fish/conf.d", []string{"*"}},
	{"secret-in-shell-startup", ".config/zsh", []string{".z*"}},
	{"secret-in-shell-startup", ".config/environment.d", []string{"*"}},
	{"secret-in-client-config", "", []string{".netrc", "_netrc", ".pgpass", ".pg_service.conf", ".npmrc", ".yarnrc*", ".pypirc", ".my.cnf", ".mylogin.cnf",
		".git-credentials", ".gitconfig", ".curlrc", ".wgetrc", ".rediscli*", ".s3cfg", ".boto", ".dockercfg"}},
	{"secret-in-client-config", ".docker", []string{"config.json"}},
	{"secret-in-client-config", ".aws", []string{"credentials", "config"}},
	{"secret-in-client-config", ".kube", []string{"config"}},
	{"secret-in-client-config", ".config/git", []string{"*"}},
	{"secret-in-client-config", ".config/gh", []string{"*"}},
	{"secret-in-client-config", ".openclaw", []string{"*.json", "*.json5", "*.bak"}},
	{"secret-in-client-config", ".claude", []string{"*.json"}},
	{"secret-in-client-config", "", []string{".claude.json*"}},
	{"secret-in-service-definition", "Library/LaunchAgents", []string{"*"}},
	{"secret-in-service-definition", ".config/systemd/user", []string{"*"}},
	{"secret-in-service-definition", ".config/autostart", []string{"*"}},
	{"secret-in-service-definition", ".pm2", []string{"dump.pm2*"}},
}

// userFiles searches the user's files that commands, variables and credentials end up in.
func (r *run) userFiles(ctx context.Context) error {
	for _, kind := range userFiles {
		root, depth := filepath.Join(r.UserHome, kind.folder), 0
		if kind.code == "secret-in-service-definition" {
			depth = 2 // drop-ins
		}
		err := r.tree(ctx, root, depth, func(file string, dir bool) string {
			if dir || slices.ContainsFunc(kind.patterns, func(pattern string) bool {
				ok, err := path.Match(pattern, filepath.Base(file))
				return ok && err == nil
			}) {
				return kind.code
			}
			return ""
		})
		if err != nil {
			return err
		}
	}
	for _, root := range [...]string{r.UserHome, filepath.Dir(r.Paths.Compose)} {
		if err := r.tree(ctx, root, 2, envFiles); err != nil {
			return err
		}
	}
	return nil
}

// envFiles chooses files of variables, and stays out of folders that hold much and no such files.
func envFiles(path string, dir bool) string {
	name := filepath.Base(path)
	crowded := [...]string{"node_modules", ".git", ".cache", ".npm", ".cargo", ".rustup", "Library", ".Trash", "Applications"}
	if dir && slices.Contains(crowded[:], name) || !dir && !isEnvFile(name) {
		return ""
	}
	return "secret-in-env-file"
}

// crashes searches memory images and crash reports where systems leave them.
func (r *run) crashes(ctx context.Context) error {
	for _, root := range r.machine.crashDirs(r.UserHome) {
		if err := r.tree(ctx, root, 3, always("secret-in-core-dump")); err != nil {
			return err
		}
	}
	return nil
}

// maxPlist is the largest property list that is read for its strings, in bytes.
const maxPlist = 4 << 20

// plistStrings is what a property list in XML says, one string a line: there they are escaped. The binary kind has its strings as
// they are or in UTF-16, so that the search finds them without taking it apart, which for a damaged one would not be safe. What is no
// property list says nothing; one that is too large is an error.
func plistStrings(f *os.File) (io.Reader, error) {
	var text bytes.Buffer
	content, err := io.ReadAll(io.NewSectionReader(f, 0, maxPlist+1))
	switch {
	case err != nil:
		return &text, fmt.Errorf("read the property list: %w", err)
	case bytes.HasPrefix(content, []byte("bplist")):
		return &text, nil
	case len(content) > maxPlist:
		return &text, errPlist
	}
	var tree any
	if _, err := plist.Unmarshal(content, &tree); err == nil {
		flatten(&text, tree)
	}
	return &text, nil
}

var errPlist = fmt.Errorf("its escaped strings are not searched: it is larger than %d MiB", maxPlist>>20)

func flatten(to *bytes.Buffer, node any) {
	switch node := node.(type) {
	case map[string]any:
		for key, value := range node {
			to.WriteString(key + "\n")
			flatten(to, value)
		}
	case []any:
		for _, value := range node {
			flatten(to, value)
		}
	case []byte:
		to.Write(append(node, '\n'))
	case string:
		to.WriteString(node + "\n")
	}
}
