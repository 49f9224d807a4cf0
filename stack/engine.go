package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/flags"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/compose/v5/pkg/compose"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/client"
	moby "github.com/moby/moby/client"

	"minibot/hint"
	"minibot/stack/keeper"
)

const (
	callTimeout = 30 * time.Second // for a call that does not wait for a container to stop
	dialTimeout = 3 * time.Second  // for one place where an engine may be
)

// Engine is a connection to a container engine. It is safe for concurrent use. Its errors wrap ErrEngineUnreachable
// when the engine is away; an engine that came back is dialled anew, because its socket may have moved.
type Engine struct {
	docker *client.Client
	moby   *moby.Client
	info   EngineInfo

	keeperRef string // this version's image of the keeper
	noswap    bool   // the engine's kernel can keep tmpfs out of the swap
	// seccomp: the engine takes its built-in profile by name, which counts where its default is another one.
	seccomp bool
	secure  bool // the connection is one of TLS

	creating sync.Mutex // one Create at a time
	compose  api.Compose
	progress progress

	delivering gate // one delivery at a time
	starting   gate
	restarting gate
	mu         sync.Mutex // guards what follows
	known      map[place]record
	fed        map[string]string  // project → keeper's instance that the last complete Feed delivered to
	memories   map[string]*memory // by project
}

// EngineInfo says which engine answers.
type EngineInfo struct {
	Version string
	API     string // the version in use
	Host    string
	Arch    string // Go's name
	// Reason says in a few words why it is this one: who named it, or whose place it is and what was in the way at better ones.
	Reason string
}

// Dial finds an engine and connects. An empty host means: look where the docker command would, anew at every call,
// because sockets appear late at login and can move. It fails with ErrEngineUnreachable and says what was tried.
func Dial(ctx context.Context, host string) (*Engine, error) {
	quietLibraries()
	around, err := realSurroundings()
	if err != nil {
		return nil, fmt.Errorf("find the engine: %w", err)
	}
	return around.dial(ctx, host)
}

func (s surroundings) dial(ctx context.Context, host string) (*Engine, error) {
	tried := []error{ErrEngineUnreachable}
	asked := s.candidates(host)
	for i := range asked {
		c := &asked[i]
		e, err := s.dialOne(ctx, *c)
		if err == nil {
			e.info.Reason = reason(*c, asked[:i])
			return e, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c.Answer, c.Err = answerOf(err), err
		tried = append(tried, fmt.Errorf("%s (%s): %w", c.From, c.Host, err))
	}
	return nil, hint.Wrap(&dialError{tried}, "%s", engineHint(s.goos, asked))
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

func (s surroundings) dialOne(ctx context.Context, c Candidate) (*Engine, error) {
	if c.Err != nil {
		return nil, c.Err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := s.probe(ctx, c); err != nil {
		return nil, err
	}
	old := []client.Opt{client.WithHost(c.Host), client.WithAPIVersionNegotiation()}
	current := []moby.Opt{moby.WithHost(c.Host)}
	if c.tlsDir != "" {
		ca, cert, key := filepath.Join(c.tlsDir, "ca.pem"), filepath.Join(c.tlsDir, "cert.pem"), filepath.Join(c.tlsDir, "key.pem")
		old = append(old, client.WithTLSClientConfig(ca, cert, key))
		current = append(current, moby.WithTLSClientConfig(ca, cert, key))
	}
	e := &Engine{secure: c.tlsDir != "", delivering: newGate(1), starting: newGate(startsAtOnce), restarting: newGate(restartsAtOnce), known: map[place]record{}, fed: map[string]string{}, memories: map[string]*memory{}}
	var err error
	if e.docker, err = client.NewClientWithOpts(old...); err != nil {
		return nil, err
	}
	if err = e.identify(ctx, c.Host); err == nil {
		e.moby, err = moby.New(current...)
	}
	if err == nil {
		err = e.openCompose(c.Host)
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
	if slices.ContainsFunc(version.Components, func(c types.ComponentVersion) bool { return strings.Contains(c.Name, "Podman") }) {
		return fmt.Errorf("%w: it is Podman's", errUnsupported)
	}
	info, err := e.docker.Info(ctx)
	if err != nil {
		return err
	}
	e.info = EngineInfo{Version: version.Version, API: e.docker.ClientVersion(), Host: host, Arch: version.Arch}
	if program, err := keeper.Program(version.Arch); err == nil { // else Create says so
		e.keeperRef = keeperImage(program)
	}
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

// gate lets so many in at a time; the wait before it ends when a context does.
type gate chan struct{}

func newGate(atOnce int) gate { return make(gate, atOnce) }

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
