package takeover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"minibot/hint"
	"minibot/stack"
)

// progressEvery is the time between two reports of a copy.
const progressEvery = 2 * time.Second

// pump streams a folder of one container into the folder to of another one, and returns what it wrote.
func (a *Adopter) pump(ctx context.Context, m *Move, l layout, fromID, from, toID, to string) (manifest, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	old, err := a.Engine.Tree(ctx, fromID, from)
	if err != nil {
		return nil, err
	}
	reader, writer := io.Pipe()
	type outcome struct {
		wrote manifest
		err   error
	}
	rewritten := make(chan outcome, 1)
	go func() { // ends with the stream, or when its reader is closed
		said := time.Now()
		wrote, err := l.rewrite(ctx, writer, old, func(total int64) error {
			a.at("copy " + m.Service)
			if now := time.Now(); now.Sub(said) >= progressEvery {
				said = now
				a.Report(m.Service, megabytes(total)+" copied")
			}
			return nil
		})
		_ = writer.CloseWithError(err) // never fails; nil is the end of the stream
		rewritten <- outcome{wrote, err}
	}()
	planted := a.Engine.Plant(ctx, toID, to, reader)
	_ = reader.CloseWithError(errStopped) // never fails
	done := <-rewritten
	closed := old.Close()
	switch {
	case done.err != nil && !errors.Is(done.err, errStopped):
		return nil, fmt.Errorf("service %s: %w", m.Service, done.err)
	case planted != nil:
		return nil, fmt.Errorf("service %s: %w", m.Service, planted)
	case done.err != nil && done.wrote == nil:
		return nil, fmt.Errorf("service %s: the engine did not take the whole copy: %w", m.Service, done.err)
	}
	return done.wrote, closed
}

var errStopped = errors.New("nobody reads any more")

// askRoles asks an old Postgres, where it runs, whether the new stack's user and database are in it, and whether there is room for a copy.
func (a *Adopter) askRoles(ctx context.Context, p *Plan, m Move, old stack.Resident) error {
	if !old.Running {
		p.Why = append(p.Why, fmt.Sprintf("container %s does not run: whether its data have the user %s, and whether there is room for a copy, shows later", old.Name, m.User))
		return nil
	}
	if err := a.askRoom(ctx, p, m, old); err != nil {
		return err
	}
	admin := old.Settings["POSTGRES_USER"]
	if admin == "" {
		admin = "postgres"
	}
	result, err := a.Engine.Exec(ctx, old.ID, stack.Exec{
		Cmd:   []string{"psql", "-X", "-q", "-A", "-t", "-w", "-F", " ", "-U", admin, "-d", "postgres", "-v", "user=" + m.User, "-v", "base=" + m.Base, "-f", "-"},
		Stdin: []byte("SELECT (SELECT count(*) FROM pg_roles WHERE rolname = :'user' AND rolcanlogin), (SELECT count(*) FROM pg_database WHERE datname = :'base');\n"),
	})
	if err != nil {
		return err
	}
	answer := strings.Fields(string(result.Stdout))
	if result.ExitCode != 0 || len(answer) != 2 {
		return hint.Wrap(fmt.Errorf("container %s: its database does not say which users it has", old.Name), "see whether `docker exec %s psql -U %s -l` works", old.Name, hint.Word(admin))
	}
	var commands []string
	if answer[0] == "0" {
		commands = append(commands, fmt.Sprintf(`-c 'CREATE ROLE "%s" LOGIN SUPERUSER'`, m.User))
	}
	if answer[1] == "0" {
		commands = append(commands, fmt.Sprintf(`-c 'CREATE DATABASE "%s" OWNER "%s"'`, m.Base, m.User))
	}
	if len(commands) > 0 {
		return hint.Wrap(fmt.Errorf("the old database lacks the user %q or the database %q that the new stack works with", m.User, m.Base),
			"docker exec %s psql -U %s -d postgres %s", old.Name, hint.Word(admin), strings.Join(commands, " "))
	}
	return nil
}

// spare is what must be left of the engine's disk after a copy, in bytes.
const spare = 256 << 20

// askRoom compares the size of the data with what is free where the engine keeps volumes: beside the container's own layer.
func (a *Adopter) askRoom(ctx context.Context, p *Plan, m Move, old stack.Resident) error {
	result, err := a.Engine.Exec(ctx, old.ID, stack.Exec{Cmd: []string{"sh", "-c", `df -Pk / | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4; du -sk "$1" | cut -f 1`, "sh", m.Path}, User: "0"})
	if err != nil {
		return err
	}
	free, size, ok := parseRoom(string(result.Stdout))
	if !ok {
		p.Why = append(p.Why, "whether there is room for a copy cannot be told")
		return nil
	}
	return fits(size, free)
}

// parseRoom reads two numbers of KiB.
func parseRoom(text string) (free, size int64, ok bool) {
	words := strings.Fields(text)
	if len(words) != 2 {
		return 0, 0, false
	}
	free, first := strconv.ParseInt(words[0], 10, 64)
	size, second := strconv.ParseInt(words[1], 10, 64)
	return free << 10, size << 10, first == nil && second == nil
}

func fits(size, free int64) error {
	if size+size/20+spare <= free {
		return nil
	}
	return hint.Wrap(fmt.Errorf("a copy of the data takes %s, and the engine's disk has %s free", megabytes(size), megabytes(free)),
		"make room: `docker system df` shows what can go")
}
