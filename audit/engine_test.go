package audit

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"minibot/control"
	"minibot/stack"
)

// fakeEngine shows what it is given.
type fakeEngine struct {
	exhibits []stack.Exhibit
	postures []stack.Posture
	err      error
}

func (e *fakeEngine) Survey(_ context.Context, visit func(stack.Exhibit) error) error {
	for _, x := range e.exhibits {
		if err := visit(x); err != nil {
			return err
		}
	}
	return e.err
}

func (e *fakeEngine) Postures(context.Context) ([]stack.Posture, error) { return e.postures, e.err }

func exhibit(kind, object, part, body string) stack.Exhibit {
	return stack.Exhibit{Kind: kind, Object: object, Part: part, Project: "minibot", Service: "redis", Body: strings.NewReader(body)}
}

func TestPlantedLeaksOnTheEngineAreFound(t *testing.T) {
	a := clean(t)
	a.Engine = &fakeEngine{exhibits: []stack.Exhibit{
		exhibit("inspect", "container c", "Config.Env[2]", "P="+canary),
		exhibit("exec", "container c", "", "redis-cli -a "+canary),
		exhibit("process", "container c", "", "redis-server --requirepass "+canary),
		exhibit("log", "container c", "stdout", strings.Repeat("x", 200_000)+canary),
		exhibit("layer", "container c", "/tmp/x", canary),
		exhibit("volume", "volume v", "data", canary),
		exhibit("image-history", "image i", "3", "RUN echo "+canary),
		exhibit("inspect", "image i", "Config.Env[0]", canary),
		exhibit("inspect", "volume v", "Labels.x", canary),
		exhibit("inspect", "network n", "Labels[0]", former),
		exhibit("inspect", "container clean", "Config.Env[2]", "P=/run/secrets/P"),
		{Kind: "log", Object: "container d", Err: errors.New("gone wrong with " + canary)},
	}}
	all, summary := audit(t, a)
	for _, want := range []struct{ code, place string }{
		{"secret-in-inspect", "container c, Config.Env[2]"}, {"secret-in-exec", "container c, exec"}, {"secret-in-arguments", "container c, process"},
		{"secret-in-container-log", "container c, stdout"}, {"secret-in-layer", "container c, /tmp/x"}, {"secret-in-volume", "volume v, data"},
		{"secret-in-image", "image i, 3"}, {"secret-in-image", "image i, Config.Env[0]"}, {"secret-in-inspect", "volume v, Labels.x"},
		{"secret-in-inspect", "network n, Labels[0]"},
	} {
		if found := in(all, want.code, want.place); len(found) != 1 || found[0].Service != "redis" {
			t.Errorf("%s at %s: %+v", want.code, want.place, found)
		}
	}
	if len(all) != 10 {
		t.Errorf("%d findings", len(all))
	}
	if len(summary.Incomplete) != 1 || !strings.HasPrefix(summary.Incomplete[0], "container d, log: gone wrong") {
		t.Errorf("%q", summary.Incomplete)
	}
}

func TestNamesOnTheEngineThatHoldSecretsAreNotRepeated(t *testing.T) {
	a := clean(t)
	x := exhibit("inspect", "container "+canary, "Labels."+former+strings.Repeat("long", 1000), canary)
	x.Service = coming
	a.Engine = &fakeEngine{exhibits: []stack.Exhibit{x}}
	all, _ := audit(t, a) // which looks at what is said
	if len(all) != 1 || len(all[0].Place) > 2*maxText {
		t.Errorf("%+v", all)
	}
}

func TestALostEngineIsSaid(t *testing.T) {
	a := clean(t)
	a.Engine = &fakeEngine{err: errors.New("connection lost")}
	if _, summary := audit(t, a); len(summary.Incomplete) != 2 {
		t.Errorf("%+v", summary)
	}
}

func TestTheEnvironmentOfAServiceNamesTheWrapper(t *testing.T) {
	a := clean(t)
	a.Project = &stack.Project{Name: "minibot"}
	a.Engine = &fakeEngine{postures: []stack.Posture{{}, {Container: "minibot-bot", ID: "feed", Project: "minibot", Service: "bot"},
		{Container: "other", ID: "beef", Project: "another"}}}
	a.machine.processes = func(_ context.Context, visit func(process) error) error {
		return errors.Join(
			visit(process{pid: 41, name: "node", arguments: []byte("node"), environment: []byte("P=" + canary), container: "feed"}),
			visit(process{pid: 42, name: "node", arguments: []byte("node"), environment: []byte("P=" + canary), container: "beef"}),
			visit(process{pid: 43, own: true, name: canary[:14], unread: errors.New("operation not permitted")}),
			visit(process{pid: 44, name: "sshd", unread: errors.New("of another user")}))
	}
	all, summary := audit(t, a)
	ours, other := in(all, "secret-in-environment", "process 41 (node) in container minibot-bot, environment"), in(all, "secret-in-environment", "process 42 (node), environment")
	if len(ours) != 1 || ours[0].Severity != control.SeverityMedium || ours[0].Service != "bot" || !strings.Contains(ours[0].Message, `sh -c 'export X="$(cat /run/secrets/X)"; exec …'`) {
		t.Errorf("of the stack: %+v", ours)
	}
	if len(other) != 1 || other[0].Severity != control.SeverityHigh {
		t.Errorf("of another: %+v", other)
	}
	if len(summary.Incomplete) != 1 || summary.Incomplete[0] != "process 43, environment: operation not permitted" {
		t.Errorf("%q", summary.Incomplete)
	}
}

// endless is a log of 200 MB, with a secret at its end.
func TestALogOfAnySizeIsSearchedToItsEnd(t *testing.T) {
	a := clean(t)
	body := io.MultiReader(io.LimitReader(zeros{}, 200<<20), strings.NewReader(canary))
	a.Engine = &fakeEngine{exhibits: []stack.Exhibit{{Kind: "log", Object: "container c", Body: body}}}
	all, summary := audit(t, a)
	if len(in(all, "secret-in-container-log", "container c, log")) != 1 || summary.Searched < 200<<20 {
		t.Errorf("%+v", summary)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
