package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/config"
	"minibot/console"
	"minibot/hint"
	"minibot/stack"
)

func (c *commands) checkCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Look for faults of a compose file; exit 1 for findings",
		Long: "check reads a compose file, the installation's own without FILE, and names every place at which a required secret is\n" +
			"passed on in the clear (exposed-secret), a secret that is to lie outside of /run/secrets (target-outside), and what\n" +
			"keeps the file from being loaded (invalid). Variables come from [env] in config.toml where there is an installation.\n" +
			"It needs neither minibotd nor an engine, and no value of a secret. Exit 0 says that there is nothing to mend.",
		Example: "  minibotd check\n  minibotd check ./compose.yaml --json",
		Args:    commandline.Arguments(0, 1, "one FILE, or none for the installation's"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := c.checked(strings.Join(args, ""))
			if err != nil {
				return err
			}
			findings, err := stack.Check(cmd.Context(), options)
			if err != nil {
				return err
			}
			if err := showFaults(c.io, findings, asJSON); err != nil {
				return err
			}
			if len(findings) > 0 {
				return errFindings
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// checked is what to check: file, or the installation's own, with the installation's variables.
func (c *commands) checked(file string) (stack.LoadOptions, error) {
	paths, err := c.paths()
	if err != nil {
		return stack.LoadOptions{}, err
	}
	cfg, err := config.Load(paths.Home)
	if err != nil {
		return stack.LoadOptions{}, err
	}
	file, err = filepath.Abs(cmp.Or(file, paths.With(cfg).Compose))
	if err != nil {
		return stack.LoadOptions{}, hint.Wrap(fmt.Errorf("find the file: %w", err), "name it with its whole path")
	}
	return stack.LoadOptions{File: file, Env: cfg.Env}, nil
}

func showFaults(io *console.IO, findings []stack.Finding, asJSON bool) error {
	if asJSON {
		if findings == nil {
			findings = []stack.Finding{}
		}
		return io.JSON(struct {
			Findings []stack.Finding `json:"findings"`
		}{findings})
	}
	for _, f := range findings {
		if err := io.Print("%s", console.Escape(f.String())); err != nil {
			return err
		}
	}
	return nil
}
