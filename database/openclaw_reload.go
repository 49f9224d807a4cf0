package database

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"minibot/hint"
	"minibot/secrets"
)

// ErrNotTaken means that the service keeps secrets that it had before.
var ErrNotTaken = errors.New("the service did not take its new secrets")

//go:embed openclaw_reload.mjs
var openClawReload string

// The exit codes of the script's own, which node has no meaning for.
const (
	exitTokenRefused = 90
	exitNotReloaded  = 91
	exitPartlyTaken  = 92
	exitOddAnswer    = 96
)

// Reload has the running gateway read all of its secrets from their files again, without a restart, and returns once it
// works with them; it takes half a second, more where a channel starts anew. The RPC wants the token that is in force
// in the running gateway, which is the former one after a new one was delivered: tokens are tried in order, zero
// ones are left out, and each that is refused costs a quarter of a second and more. To repeat it is harmless.
//
// The error wraps [ErrRefused] when none of the tokens is in force (a restart is then the way), [ErrNotReady] when the
// gateway cannot be asked now, and [ErrNotTaken] when it keeps the former value of one secret or of all, as when a file
// cannot be read.
func (o OpenClaw) Reload(ctx context.Context, tokens ...secrets.Value) error {
	var candidates []string
	for _, token := range tokens {
		if o.Check(token) == nil { // no other can be in force
			candidates = append(candidates, string(token.Reveal()))
		}
	}
	if len(candidates) == 0 {
		return fmt.Errorf("service %s: no token to reload its secrets with: %w", o.Service, ErrRefused)
	}
	res, err := o.node(ctx, openClawReload, candidates...)
	if err != nil {
		return err
	}
	seeLog := func(err error) error { return hint.Wrap(err, "run `minibotd logs %s`", o.Service) }
	switch res.ExitCode {
	case 0:
		return nil
	case exitTokenRefused:
		return fmt.Errorf("service %s: reload its secrets: %w", o.Service, ErrRefused)
	case exitNotReloaded:
		return seeLog(fmt.Errorf("service %s: %w: it refuses to reload them and keeps the former ones", o.Service, ErrNotTaken))
	case exitPartlyTaken:
		return seeLog(fmt.Errorf("service %s: %w: %s", o.Service, ErrNotTaken, untaken(res.Stdout)))
	case exitOddAnswer:
		return seeLog(fmt.Errorf("service %s: reload its secrets: the gateway answers otherwise than OpenClaw 2026.9 does", o.Service))
	}
	return fmt.Errorf("service %s: reload its secrets: node ended with exit code %d", o.Service, res.ExitCode)
}

var ownerName = regexp.MustCompile(`^[a-z-]{1,32}:[A-Za-z0-9._:/@-]{1,64}$`)

// untaken says in words who did not take its secret. The names are of the gateway's making, such as provider:anthropic;
// one that looks otherwise is not repeated.
func untaken(out []byte) string {
	var owners []struct {
		Owner string `json:"owner"`
		Stale bool   `json:"stale"`
	}
	if err := json.Unmarshal(out, &owners); err != nil || len(owners) == 0 {
		return "some of it keeps what it had"
	}
	var parts []string
	for _, o := range owners {
		name, state := o.Owner, "has none now"
		if !ownerName.MatchString(name) {
			name = "another part"
		}
		if o.Stale {
			state = "keeps its former one"
		}
		parts = append(parts, name+" "+state)
	}
	return strings.Join(parts, ", ")
}
