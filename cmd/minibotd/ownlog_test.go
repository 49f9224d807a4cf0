package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"minibot/config"
	"minibot/console"
	"minibot/control"
	"minibot/launchd"
	"minibot/logfile"
	"minibot/secrets"
)

const logCanary = "canary-in-a-log-line"

// launchdFile is a file as launchd opens it for a stream, with what an earlier run left.
func launchdFile(t *testing.T, dir, name string) *os.File {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // a test may have
	if _, err := f.WriteString("an earlier crash\n"); err != nil {
		t.Fatal(err)
	}
	return f
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheLogOfAnAgentIsAFileWithoutValues(t *testing.T) {
	paths := config.Paths{LogDir: t.TempDir()}
	value, err := secrets.NewValue([]byte(logCanary))
	if err != nil {
		t.Fatal(err)
	}
	redact := &secrets.Redaction{}
	redact.Learn(value)
	for name, stderr := range map[string]*os.File{
		"launchd's":  launchdFile(t, paths.LogDir, logfile.Stderr),
		"a person's": launchdFile(t, t.TempDir(), logfile.Stderr),
	} {
		var shown bytes.Buffer
		o := output{io: console.New(nil, nil, redact.Writer(&shown)), stderr: stderr, redact: redact}
		log, done := o.open(paths, config.Default())
		log.Info("a line with " + logCanary)
		if err := done(); err != nil {
			t.Error(err)
		}
		text := shown.String()
		if name == "launchd's" {
			if text != "" {
				t.Errorf("also shown: %s", text)
			}
			text = content(t, filepath.Join(paths.LogDir, logfile.Name))
		}
		if !strings.Contains(text, "a line with ") || strings.Contains(text, logCanary) {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestALogThatCannotBeOpenedGoesToStderr(t *testing.T) {
	paths := config.Paths{LogDir: t.TempDir()}
	stderr := launchdFile(t, paths.LogDir, logfile.Stderr)
	if err := os.Mkdir(filepath.Join(paths.LogDir, logfile.Name), 0o700); err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	log, done := output{io: console.New(nil, nil, &shown), stderr: stderr, redact: &secrets.Redaction{}}.open(paths, config.Default())
	log.Info("all the same")
	if err := done(); err != nil || !strings.Contains(shown.String(), "error: ") || !strings.Contains(shown.String(), "all the same") {
		t.Errorf("%q, %v", shown.String(), err)
	}
}

// TestRunUnderLaunchd starts the program as a LaunchAgent's is started, without an engine.
func TestRunUnderLaunchd(t *testing.T) {
	home, err := os.MkdirTemp("", "mb-") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) }) // in the temporary folder
	paths, err := config.NewPaths(home)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths.Config, []byte("docker_host = \"unix:///nonexistent/docker.sock\"\n[log]\nmax_size_mb = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "minibotd"), "run")
	cmd.Env = []string{"MINIBOT_HOME=" + home, "HOME=" + home, "PATH=/usr/bin:/bin"}
	stdout, stderr := launchdFile(t, paths.LogDir, logfile.Stdout), launchdFile(t, paths.LogDir, logfile.Stderr)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := (&control.Client{Socket: paths.Socket}).Status(ctx); err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it does not answer: %s", content(t, filepath.Join(paths.LogDir, logfile.Stderr)))
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{logfile.Stdout, logfile.Stderr} {
		path := filepath.Join(paths.LogDir, name)
		if text := content(t, path); text != "" {
			t.Errorf("%s: %q", name, text)
		}
		if text := content(t, path+".1"); text != "an earlier crash\n" {
			t.Errorf("%s.1: %q", name, text)
		}
	}
	if text := content(t, filepath.Join(paths.LogDir, logfile.Name)); !strings.Contains(text, "minibotd started") || !strings.Contains(text, "minibotd ended") {
		t.Errorf("the log: %q", text)
	}
}

// TestLaunchdsFilesAreTheOnesThatAreEmptied ties what the LaunchAgent names to what the daemon looks for.
func TestLaunchdsFilesAreTheOnesThatAreEmptied(t *testing.T) {
	if logfile.Stdout != launchd.OutLog || logfile.Stderr != launchd.ErrLog {
		t.Errorf("%s and %s, %s and %s", logfile.Stdout, launchd.OutLog, logfile.Stderr, launchd.ErrLog)
	}
}
