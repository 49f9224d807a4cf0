package main

import (
	"errors"
	"os"
	"testing"

	"minibot/config"
	"minibot/control"
)

// The flag goes over the configuration, and is as strict.
func TestDockerHostOfTheCommandLine(t *testing.T) {
	paths, err := config.NewPaths(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths.Config, []byte("docker_host = 'unix:///a'"), 0o600); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"": "unix:///a", "tcp://127.0.0.1:2375": "tcp://127.0.0.1:2375"} {
		if cfg, err := configured(paths, host); err != nil || cfg.DockerHost != want {
			t.Errorf("%q: %q, %v", host, cfg.DockerHost, err)
		}
	}
	if _, err := configured(paths, "/var/run/docker.sock"); !errors.Is(err, control.ErrUsage) {
		t.Errorf("%v", err)
	}
}
