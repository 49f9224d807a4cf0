package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/hint"
	"minibot/secrets"
)

func (a *app) execCommand() *cobra.Command {
	var only []string
	cmd := &cobra.Command{
		Use:   "exec [--only NAMES] -- COMMAND [ARGUMENT]...",
		Short: "Run one command with the secrets in its environment",
		Long: "exec becomes COMMAND, with every set secret (or those of --only) in its environment, where its user and root can\n" +
			"read them as long as it runs. Signals, input, output and exit code are COMMAND's own; 126 says that it could not\n" +
			"be run, 127 that it was not found.",
		Example: "  mb-secrets exec --only ANTHROPIC_API_KEY -- sh -c 'my-script'",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return hint.Wrap(commandline.Usage("exec needs a command"), "mb-secrets exec -- COMMAND [ARGUMENT]...")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.exec(cmd.Context(), only, cmd.Flags().Changed("only"), args)
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringSliceVar(&only, "only", nil, "only these secrets: NAME,NAME")
	return cmd
}

// exec replaces this process: there is no parent left that holds values or stands between a signal and the command.
func (a *app) exec(ctx context.Context, only []string, narrowed bool, args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		code := 127
		if errors.Is(err, fs.ErrPermission) {
			code = 126
		}
		return &exitStatus{fmt.Errorf("exec: %w", err), code}
	}
	names, err := a.execNames(ctx, only, narrowed)
	if err != nil {
		return err
	}
	env := os.Environ()
	for _, name := range names {
		value, err := a.reveal(ctx, name)
		if err != nil {
			return err
		}
		env = setenv(env, string(name), string(value.Reveal()))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if a.release != nil {
		if err := a.release(); err != nil {
			return err
		}
	}
	return &exitStatus{fmt.Errorf("exec %s: %w", path, syscall.Exec(path, args, env)), 126}
}

func (a *app) execNames(ctx context.Context, only []string, narrowed bool) ([]secrets.Name, error) {
	var names []secrets.Name
	if narrowed {
		for _, arg := range only {
			name, err := parseName(strings.TrimSpace(arg))
			if err != nil {
				return nil, err
			}
			names = append(names, name)
		}
		return names, nil
	}
	list, err := a.list(ctx)
	for _, s := range list {
		if s.Set {
			names = append(names, secrets.Name(s.Name))
		}
	}
	return names, err
}

// setenv replaces or adds one variable.
func setenv(env []string, name, value string) []string {
	kept := make([]string, 0, len(env)+1)
	for _, entry := range env {
		if !strings.HasPrefix(entry, name+"=") {
			kept = append(kept, entry)
		}
	}
	return append(kept, name+"="+value)
}
