package database

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// DriverOpenClaw is the compose file's name of [OpenClaw].
const DriverOpenClaw = "openclaw"

// OpenClaw is the gateway token of an OpenClaw gateway (2026.9 or later, auth mode "token") that reads it from its
// delivered file when it starts, and again by Reload. It runs node, which is in the gateway's own image, inside the
// container, with the tokens on standard input. It is safe for concurrent use.
type OpenClaw struct {
	Container Container
	Service   string
	Port      int // of the gateway inside the container; 0 means 18789
}

// MaxOpenClawToken is the longest token in bytes: a client sends it in the header of an HTTP request, and the gateway
// takes 16 KiB of headers.
const MaxOpenClawToken = 8192

const openClawPort = 18789

// Live reports that a new token comes into force by delivery and Reload, or a restart.
func (OpenClaw) Live() bool { return false }

// Overlaps reports that there is one token at a time.
func (OpenClaw) Overlaps() bool { return false }

// Successor returns the same user for every credential; a token has none.
func (OpenClaw) Successor(user string) string { return user }

// Retire does nothing: the former token ended with Reload.
func (OpenClaw) Retire(context.Context, Change) error { return nil }

// Revert does nothing: a gateway takes what is delivered by Reload.
func (OpenClaw) Revert(context.Context, Change) error { return nil }

// Assert returns [ErrNoEntrance].
func (o OpenClaw) Assert(context.Context, Credential) error {
	return fmt.Errorf("service %s: %w", o.Service, ErrNoEntrance)
}

// InUse returns 0: a gateway with a new token closes the connections of the former one by itself.
func (OpenClaw) InUse(context.Context, Change, time.Time) (int, error) { return 0, nil }

// Accept only checks the value.
func (o OpenClaw) Accept(_ context.Context, c Change) error {
	if err := o.Check(c.Next.Password); err != nil {
		return fmt.Errorf("service %s: %w", o.Service, err)
	}
	return nil
}

// Check reports whether OpenClaw can take the token; the error wraps [ErrUnfit]. Printable ASCII on one line will do,
// up to [MaxOpenClawToken], except what OpenClaw takes for a blank or an example.
func (OpenClaw) Check(value secrets.Value) error { return checkOpenClaw(value) }

// examples are the values that OpenClaw refuses at its start or at a reload: placeholders, and what a program writes
// for a value that it does not have.
var examples = []string{
	"undefined", "null", "change-me-to-a-long-random-token", "change-me-now", "__OPENCLAW_REDACTED__", "REDACTED", "xoxb-REDACTED", "xapp-REDACTED",
	"***", "[redacted]", "[REDACTED]", "<redacted>", "[REDACTED_PRIVATE_KEY]", "[REDACTED CREDENTIAL]",
}

func checkOpenClaw(value secrets.Value) error {
	token := string(value.Reveal())
	printable := func(r rune) bool { return r >= ' ' && r <= '~' }
	switch {
	case token == "":
		return fmt.Errorf("%w: OpenClaw takes no empty token", ErrUnfit)
	case len(token) > MaxOpenClawToken:
		return fmt.Errorf("%w: it has %d bytes, and a client can send at most %d", ErrUnfit, len(token), MaxOpenClawToken)
	case strings.ContainsFunc(token, func(r rune) bool { return !printable(r) }):
		return fmt.Errorf("%w: it holds other than printable ASCII characters, which a client cannot send in a header", ErrUnfit)
	case strings.TrimSpace(token) != token:
		return fmt.Errorf("%w: it begins or ends with a blank, which the gateway trims off what a client sends", ErrUnfit)
	case slices.Contains(examples, token):
		return fmt.Errorf("%w: OpenClaw takes it for an example or a placeholder", ErrUnfit)
	}
	return nil
}

//go:embed openclaw_prove.mjs
var openClawProve string

// Prove asks the gateway, over the container's own network address, with c's token and then with a random one. It
// returns nil when only the first is let in, and otherwise an error that wraps [ErrRefused], [ErrOpen] or [ErrNotReady]
// where it is one of those. Ten proofs within a minute that end with ErrRefused make the gateway refuse all of them
// for five minutes, which then counts as not ready. It changes nothing.
func (o OpenClaw) Prove(ctx context.Context, c Credential) error {
	if err := o.Check(c.Password); err != nil {
		return fmt.Errorf("service %s: %w", o.Service, err)
	}
	res, err := o.node(ctx, openClawProve, string(c.Password.Reveal()), string(randomPassword()))
	if err != nil {
		return err
	}
	if res.ExitCode != 0 {
		return fmt.Errorf("service %s: ask the gateway with the token: node ended with exit code %d", o.Service, res.ExitCode)
	}
	answers := append(strings.Fields(string(res.Stdout)), "", "")
	right, random := answers[0], answers[1]
	switch {
	case right == "401":
		return fmt.Errorf("service %s: %w", o.Service, ErrRefused)
	case (right == "200" || right == "404") && random == "401": // 404: the token is good, and the tool is not allowed here
		return nil
	case right == "200" && random == "200":
		return hint.Wrap(fmt.Errorf("service %s: %w", o.Service, ErrOpen), "see gateway.auth.mode in OpenClaw's configuration")
	case right == "429", strings.HasPrefix(right, "5"), random == "429", strings.HasPrefix(random, "5"):
		return fmt.Errorf("service %s: %w: it answers with an error", o.Service, ErrNotReady)
	}
	return fmt.Errorf("service %s: ask the gateway with the token: unexpected answers", o.Service)
}

// node runs a script with the tokens on its standard input. What the container's environment tells node to do first,
// such as to go through a proxy, is left out.
func (o OpenClaw) node(ctx context.Context, script string, tokens ...string) (Result, error) {
	port := o.Port
	if port == 0 {
		port = openClawPort
	}
	input, err := json.Marshal(struct {
		Port   int      `json:"port"`
		Tokens []string `json:"tokens"`
	}{port, tokens})
	if err != nil {
		return Result{}, fmt.Errorf("service %s: %w", o.Service, err)
	}
	cmd := []string{"sh", "-c", `unset NODE_OPTIONS NODE_USE_ENV_PROXY; exec node --input-type=module -e "$1"`, "sh", script}
	return run(ctx, o.Container, o.Service, cmd, input)
}
