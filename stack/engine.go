package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/flags"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/compose/v5/pkg/compose"
	"github.com/docker/docker/client"
	moby "github.com/moby/moby/client"

	"minibot/hint"
)

const (
	callTimeout = 30 * time.Second // for a call that does not wait for a container to stop
	dialTimeout = 3 * time.Second  // for one place where an engine may be
	engineHint  = "start Docker Desktop, or run `scripts/engine`"
)

// Engine is a connection to a container engine. It is safe for concurrent use. Its errors wrap ErrEngineUnreachable
// when the engine is away; an engine that came back is dialled anew, because its socket may have moved.
type Engine struct {
	docker *client.Client
	moby   *moby.Client
	info   EngineInfo
	noswap bool // the engine's kernel can keep tmpfs out of the swap
	// seccomp: the engine takes its built-in profile by name, which counts where its default is another one.
	seccomp bool
	secure  bool // the connection is one of TLS

	creating sync.Mutex // one Create at a time
	compose  api.Compose
	progress progress

	delivering gate       // one delivery at a time
	mu         sync.Mutex // guards known and fed
	known      map[place]record
	fed        map[string]string // project → keeper's instance that the last complete Feed delivered to
}

// EngineInfo says which engine answers.
type EngineInfo struct {
	Version string
	API     string // the version in use
	Host    string
	Arch    string // Go's name
}

// Dial finds an engine and connects. An empty host means: look where the docker command would, anew at every call,
// because sockets appear late at login and can move. It fails with ErrEngineUnreachable and says what was tried.
func Dial(ctx context.Context, host string) (*Engine, error) {
	quietLibraries()
	if host != "" {
		return dialFirst(ctx, []candidate{candidate{host: host, from: "the configuration"}.checked()})
	}
	around, err := realSurroundings()
	if err != nil {
		return nil, fmt.Errorf("find the engine: %w", err)
	}
	return dialFirst(ctx, around.candidates())
}

func dialFirst(ctx context.Context, candidates []candidate) (*Engine, error) {
	tried := []error{ErrEngineUnreachable}
	for _, c := range candidates {
		e, err := dialOne(ctx, c)
		if err == nil {
			return e, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		tried = append(tried, fmt.Errorf("%s (%s): %w", c.from, c.host, err))
	}
	return nil, hint.Wrap(&dialError{tried}, "%s", engineHint)
}

// dialError lists what was tried, on one line.
type dialError struct{ tried []error }

func (e *dialError) Unwrap() []error { return e.tried }

func (e *dialError) Error() string {
	text := e.tried[0].Error()
	for i, err := range e.tried[1:] {
		text += [2]string{"; ", ": "}[btoi(i == 0)] + err.Error()
	}
	return text
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func dialOne(ctx context.Context, c candidate) (*Engine, error) {
	if c.problem != nil {
		return nil, c.problem
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	old := []client.Opt{client.WithHost(c.host), client.WithAPIVersionNegotiation()}
	current := []moby.Opt{moby.WithHost(c.host)}
	if c.tlsDir != "" {
		ca, cert, key := filepath.Join(c.tlsDir, "ca.pem"), filepath.Join(c.tlsDir, "cert.pem"), filepath.Join(c.tlsDir, "key.pem")
		old = append(old, client.WithTLSClientConfig(ca, cert, key))
		current = append(current, moby.WithTLSClientConfig(ca, cert, key))
	}
	e := &Engine{secure: c.tlsDir != "", delivering: newGate(), known: map[place]record{}, fed: map[string]string{}}
	var err error
	if e.docker, err = client.NewClientWithOpts(old...); err != nil {
		return nil, err
	}
	if err = e.identify(ctx, c.host); err == nil {
		e.moby, err = moby.New(current...)
	}
	if err == nil {
		err = e.openCompose(c.host)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) identify(ctx context.Context, host string) error {
	version, err := e.docker.ServerVersion(ctx)
	if err != nil {
		return err
	}
	info, err := e.docker.Info(ctx)
	if err != nil {
		return err
	}
	e.info = EngineInfo{Version: version.Version, API: e.docker.ClientVersion(), Host: host, Arch: version.Arch}
	e.noswap = hasNoswap(info.KernelVersion, info.SecurityOptions)
	e.seccomp = namesSeccomp(e.info.API, info.SecurityOptions)
	return nil
}

// openCompose builds the Compose SDK's service once; it shares nothing with a terminal and cannot ask or print.
func (e *Engine) openCompose(host string) error {
	cli, err := command.NewDockerCli(command.WithCombinedStreams(io.Discard), command.WithAPIClient(e.moby))
	if err != nil {
		return err
	}
	options := flags.NewClientOptions()
	options.Hosts = []string{host}
	if err := cli.Initialize(options); err != nil {
		return err
	}
	e.compose, err = compose.NewComposeService(cli, compose.WithPrompt(e.progress.answer), compose.WithEventProcessor(&e.progress))
	return err
}

// gate is a lock whose wait ends when a context does.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

func (g gate) lock(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) unlock() { <-g }

// Info says which engine answers; it makes no call.
func (e *Engine) Info() EngineInfo { return e.info }

// Close ends the idle connections. Calls under way end when their contexts do.
func (e *Engine) Close() error {
	var errs []error
	if e.docker != nil {
		errs = append(errs, e.docker.Close())
	}
	if e.moby != nil {
		errs = append(errs, e.moby.Close())
	}
	return errors.Join(errs...)
}
