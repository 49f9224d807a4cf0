package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minibot/commandline"
	"minibot/control"
)

func (c *commands) pauseCommand() *cobra.Command {
	var text string
	cmd := &cobra.Command{
		Use:   "pause SERVICE --for TIME",
		Short: "Leave a sick service alone for a while",
		Long: "pause has a service not healed for the given time, from 1s to 7d: neither when it exits nor when it is unhealthy. What you\n" +
			"ask, such as restart, and changed secrets happen all the same. It ends by itself, or with resume, and outlives\n" +
			"restarts of minibotd and of the machine. It is not the engine's own pause: the container goes on running.",
		Example:           "  minibotd pause openclaw --for 30m\n  minibotd pause redis --for 2d",
		Args:              commandline.Arguments(1, 1, "one SERVICE"),
		ValidArgsFunction: c.services,
		RunE: func(cmd *cobra.Command, args []string) error {
			seconds, err := pauseSeconds(text)
			if err != nil {
				return err
			}
			return c.order(cmd, control.Operation{Verb: control.VerbPause, Service: args[0], Seconds: seconds})
		},
	}
	cmd.Flags().StringVar(&text, "for", "", "how long, such as 30m, 2h or 1d")
	return cmd
}

// pauseSeconds reads the time of a pause.
func pauseSeconds(text string) (int64, error) {
	if text == "" {
		return 0, commandline.Usage("pause wants --for, such as --for 30m")
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 8)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < time.Second || d > control.MaxPause {
		return 0, commandline.Usage("--for wants a time between 1s and 7d, such as 30m, 2h or 1d")
	}
	return int64(d / time.Second), nil
}

func (c *commands) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "resume SERVICE",
		Short:             "Heal a service again that is paused",
		Long:              "resume ends what pause began: when the service is sick, it is healed at once.",
		Example:           "  minibotd resume openclaw",
		Args:              commandline.Arguments(1, 1, "one SERVICE"),
		ValidArgsFunction: c.services,
		RunE:              c.operate(control.VerbResume),
	}
}
