package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"minibot/control"
)

// bench is what the measurements share.
type bench struct {
	programs, compose, hammer string
	rounds                    int
	made                      int // projects so far
}

func (b *bench) times(own int) int {
	if b.rounds > 0 {
		return b.rounds
	}
	return own
}

// project is a MINIBOT_HOME with a compose project of its own.
type project struct {
	b          *bench
	home, name string
	env        map[string]string
	daemon     *exec.Cmd
	log        bytes.Buffer
}

func (b *bench) project(composeFile string, secrets map[string]string, env map[string]string) (*project, error) {
	home, err := os.MkdirTemp("", "mb-bench-")
	if err != nil {
		return nil, err
	}
	b.made++
	p := &project{b: b, home: home, name: fmt.Sprintf("mbbench-%d-%d", os.Getpid(), b.made), env: map[string]string{}}
	for _, key := range []string{"MINIBOT_POSTGRES_IMAGE", "MINIBOT_REDIS_IMAGE", "MINIBOT_OPENCLAW_IMAGE"} {
		if v := os.Getenv(key); v != "" {
			p.env[key] = v
		}
	}
	p.env["MINIBOT_NAME"] = p.name
	for k, v := range env {
		p.env[k] = v
	}
	var toml, given strings.Builder
	toml.WriteString("[env]\n")
	for k, v := range p.env {
		fmt.Fprintf(&toml, "%s = %q\n", k, v)
	}
	for k, v := range secrets {
		fmt.Fprintf(&given, "%s=%s\n", k, v)
	}
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(toml.String()), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(home, "compose.yaml"), []byte(composeFile), 0o600); err != nil {
		return nil, err
	}
	init := p.command("mb-secrets", "init")
	init.Stdin = strings.NewReader(given.String())
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mb-secrets init: %w: %s", err, out)
	}
	return p, nil
}

func (p *project) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.b.programs, program), args...)
	cmd.Env = append(os.Environ(), "MINIBOT_HOME="+p.home)
	return cmd
}

// up starts the daemon and returns when all is healthy.
func (p *project) up(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	p.daemon = p.command("minibotd", "run")
	p.daemon.Stdout, p.daemon.Stderr = &p.log, &p.log
	if err := p.daemon.Start(); err != nil {
		return 0, err
	}
	return p.healthy(ctx, begin)
}

func (p *project) client() *control.Client {
	return &control.Client{Socket: filepath.Join(p.home, "run", "minibotd.sock")}
}

func (p *project) healthy(ctx context.Context, begin time.Time) (time.Duration, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for time.Since(begin) < 3*time.Minute {
		if status, err := p.client().Status(ctx); err == nil && status.Phase == control.PhaseHealthy {
			return time.Since(begin), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
	return 0, fmt.Errorf("not healthy after 3 minutes: %s", p.log.String())
}

// dockerCompose runs docker compose on the same file, with the secrets in its environment, and returns how long it took.
func (p *project) dockerCompose(ctx context.Context, secrets map[string]string, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, p.b.compose, append([]string{"-f", filepath.Join(p.home, "compose.yaml")}, args...)...)
	cmd.Env = os.Environ()
	for k, v := range p.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	for k, v := range secrets {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("docker compose %s: %w: %s", args[0], err, out)
	}
	return time.Since(begin), nil
}

// stop ends the daemon; the stack stays.
func (p *project) stop() error {
	if p.daemon == nil {
		return nil
	}
	err := p.daemon.Process.Signal(os.Interrupt)
	if err == nil {
		err = p.daemon.Wait()
	}
	p.daemon = nil
	return err
}

// wipe takes the project off the engine.
func (p *project) wipe() error {
	label := "label=com.docker.compose.project=" + p.name
	for _, kind := range []string{"container", "volume", "network"} {
		list := []string{kind, "ls", "-q", "--filter", label}
		if kind == "container" {
			list = append(list, "-a")
		}
		out, err := exec.Command("docker", list...).Output()
		if err != nil {
			return err
		}
		if ids := strings.Fields(string(out)); len(ids) > 0 {
			rm := []string{kind, "rm", "-f"}
			if kind == "network" {
				rm = rm[:2]
			}
			if out, err := exec.Command("docker", append(rm, ids...)...).CombinedOutput(); err != nil {
				return fmt.Errorf("docker %s rm: %w: %s", kind, err, out)
			}
		}
	}
	return nil
}

// end removes all that the project made.
func (p *project) end() error {
	if p.daemon != nil {
		if err := p.stop(); err != nil {
			return err
		}
	}
	if err := p.wipe(); err != nil {
		return err
	}
	return os.RemoveAll(p.home)
}
