package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"minibot/hint"
	"minibot/process"
)

const (
	programTimeout = 5 * time.Second
	maxPrinted     = 1 << 20 // of a program's answer, in bytes
)

// answer is what a program said.
type answer struct {
	stdout, stderr string
	exit           int
}

// ask runs a program of the system without input. An exit status other than 0 is an answer, no error. Errors say why there
// is none, and never what was printed.
func ask(ctx context.Context, program string, arguments ...string) (answer, error) {
	name := filepath.Base(program)
	ctx, cancel := context.WithTimeout(ctx, programTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, arguments...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + os.Getenv("HOME")}
	cmd.WaitDelay = time.Second // for a child of its own that keeps the pipes open
	stdout, stderr := process.Limited{Max: maxPrinted}, process.Limited{Max: maxPrinted}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exited *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return answer{}, fmt.Errorf("%s does not answer", name)
	case errors.As(err, &exited) && !exited.Exited():
		return answer{}, fmt.Errorf("%s was ended by a signal", name)
	case errors.Is(err, exec.ErrWaitDelay):
		return answer{}, fmt.Errorf("%s does not end", name)
	case err != nil && exited == nil:
		return answer{}, fmt.Errorf("%s cannot be run", name)
	case stdout.Over || stderr.Over:
		return answer{}, fmt.Errorf("%s says too much", name)
	}
	return answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}, nil
}

// edit is the command that opens a file for a person.
func edit(path string) string { return "${EDITOR:-vi} " + hint.Word(path) }

// inPath reports whether a shell with that PATH finds file under name.
func inPath(path, name, file string) bool {
	want, err := os.Stat(file)
	if err != nil {
		return true // there is none beside: whatever the shell finds
	}
	for _, dir := range filepath.SplitList(path) {
		candidate := filepath.Join(dir, name)
		if found, err := os.Stat(candidate); err == nil && !found.IsDir() {
			return os.SameFile(found, want)
		}
	}
	return false
}

// begins are the programs that an advice which is a command as a whole begins with.
var begins = regexp.MustCompile(`^(chmod|chown|rm|mb-secrets|minibotd|launchctl|systemctl|loginctl|security|docker) [^;,]*$`)

// advised is the command in the advice of an error: all of it, or what stands in back quotes first; "" for none.
func (d *Doctor) advised(err error) string {
	advice := hint.Of(err)
	if _, rest, quoted := strings.Cut(advice, "`"); quoted {
		advice, _, _ = strings.Cut(rest, "`")
	} else if !begins.MatchString(advice) {
		return ""
	}
	for _, name := range []string{"minibotd", "mb-secrets"} {
		if arguments, found := strings.CutPrefix(advice, name+" "); found {
			return d.program(name, arguments)
		}
	}
	return advice
}

// line is the text of an error on one line.
func line(err error) string { return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") }
