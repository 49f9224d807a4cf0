package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"minibot/hint"
	"minibot/process"
)

const (
	deadline  = 10 * time.Second // of one attempt, whichever way
	killDelay = time.Second      // from the kill of a command until nobody waits for its output any more
	maxOutput = 4 << 10          // bytes of a command's output that are kept
)

// searchPath is where a hook that is a script finds its programs.
const searchPath = "/usr/local/bin:/opt/homebrew/bin:/usr/bin:/bin:/usr/sbin:/sbin"

// command runs the program with the message. When it has ended, or its time is over, all that is in its process group is killed.
func (n *Notifier) command(ctx context.Context, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, n.most)
	defer cancel()
	argv := n.o.Config.Command
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	output := &process.Limited{Max: maxOutput}
	cmd.Dir, cmd.Env = "/", n.environment(m)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(body, '\n')), output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel, cmd.WaitDelay = kill, killDelay
	if err := cmd.Start(); err != nil {
		return hint.Wrap(refused("run the command: %w", cause(err)), "look at command in [notify] of config.toml, and at the file: it must be executable")
	}
	err = cmd.Wait()
	_ = kill() // what it has left behind; mostly nothing is there any more
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("the command was killed: it did not end within %v", n.most)
	case errors.Is(err, exec.ErrWaitDelay): // it has ended; its children had the output
		err = nil
	case errors.As(err, &exit):
		err = fmt.Errorf("the command ended with: %v", exit.ProcessState)
	case errors.Is(err, syscall.EPIPE): // it did not read the message
		err = nil
	case err != nil:
		err = fmt.Errorf("the command: %w", cause(err))
	}
	if text := strings.TrimSpace(n.o.Redact.Text(output.String())); text != "" {
		n.o.Logger.Info("the command of notify said", "output", text, "more", output.Over)
	}
	return err
}

// environment is all that the command gets.
func (n *Notifier) environment(m Message) []string {
	env := []string{"PATH=" + searchPath, "HOME=" + n.o.User, "LANG=C.UTF-8"}
	for _, v := range [...]struct{ name, value string }{
		{"EVENT", m.Event}, {"SERVICE", m.Service}, {"REASON", m.Reason}, {"HINT", m.Hint}, {"HOST", m.Host},
		{"TIME", m.Time.Format(time.RFC3339)}, {"PHASE", m.Phase}, {"SEQ", strconv.FormatUint(m.Seq, 10)}, {"TEXT", m.Text}, {"HOME", n.o.Home},
	} {
		env = append(env, "MINIBOT_"+v.name+"="+strings.ReplaceAll(v.value, "\x00", " "))
	}
	return env
}

// cause is what is below an error that says which file it was.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
