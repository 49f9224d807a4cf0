package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// fakeBackend is a daemon with a store in memory. Hooks replace what a test needs to steer.
type fakeBackend struct {
	mu     sync.Mutex
	values map[secrets.Name]string
	busy   bool   // another change is under way
	by     string // of the last change
	log    *EventLog
	status func(ctx context.Context) (Status, error)
	op     func(ctx context.Context, op Operation, report func(Progress)) error
	logs   func(ctx context.Context, w io.Writer) error
	audit  func(ctx context.Context, report func(AuditLine) error) error
}

func newFake(t testing.TB) *fakeBackend {
	log, err := OpenEventLog(t.TempDir() + "/events.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return &fakeBackend{values: map[secrets.Name]string{}, log: log}
}

func (f *fakeBackend) Status(ctx context.Context) (Status, error) {
	if f.status != nil {
		return f.status(ctx)
	}
	return Status{Phase: PhaseHealthy, Version: "test", Services: []Service{{Name: "redis", State: "running"}}}, nil
}

func (f *fakeBackend) Operate(ctx context.Context, op Operation, report func(Progress)) error {
	if f.op != nil {
		return f.op(ctx, op, report)
	}
	report(Progress{Service: op.Service, Message: string(op.Verb)})
	return nil
}

func (f *fakeBackend) Secrets(context.Context) ([]Secret, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := []Secret{}
	for name := range f.values {
		list = append(list, Secret{Name: string(name), Set: true})
	}
	return list, nil
}

func (f *fakeBackend) Reveal(_ context.Context, name secrets.Name) (secrets.Value, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.values[name]
	switch {
	case name == "LOCKED":
		return secrets.Value{}, hint.Wrap(fmt.Errorf("read %s: %w", name, secrets.ErrLocked), "unlock it")
	case name == "PANICS":
		panic("canary-in-a-panic")
	case !ok:
		return secrets.Value{}, hint.Wrap(fmt.Errorf("%s: %w", name, secrets.ErrNotFound), "mb-secrets set %s", name)
	}
	return secrets.NewValue([]byte(v))
}

func (f *fakeBackend) Change(_ context.Context, order ChangeOrder, report func(Progress)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy && order.NoWait {
		return hint.Wrap(ErrBusy, "mb-secrets history")
	}
	f.by = order.By
	for _, c := range order.Changes {
		f.values[c.Name] = string(c.Value)
		if c.Generate {
			f.values[c.Name] = "canary-generated"
		}
		report(Progress{Message: "stored " + string(c.Name)})
	}
	return nil
}

// Rotate gives the names that are set a new value, and reports what it was asked for.
func (f *fakeBackend) Rotate(_ context.Context, r Rotation, report func(Progress)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range r.Names {
		if _, ok := f.values[name]; !ok {
			return fmt.Errorf("%s: %w", name, secrets.ErrNotFound)
		}
		report(Progress{Step: "accept", Secret: string(name), Service: "redis", Message: "accepted"})
		f.values[name] = "canary-rotated"
	}
	asked, err := json.Marshal(r)
	report(Progress{Message: string(asked)})
	return err
}

// Plan has one note: what it was asked for.
func (f *fakeBackend) Plan(_ context.Context, r Rotation) (Plan, error) {
	asked, err := json.Marshal(r)
	changed := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return Plan{Secrets: []PlannedSecret{{Name: "A", Generated: true, How: "in words", Changed: &changed}}, LastTookMS: 1.5,
		Steps: []PlannedStep{{Step: "adopt", Service: "redis", Effect: "restarts"}}, Notes: []string{string(asked)}}, err
}

func (f *fakeBackend) History(_ context.Context, name secrets.Name) ([]Receipt, error) {
	if name == "NONE" {
		return nil, nil
	}
	return []Receipt{{ID: "1", Kind: KindRotate, Secrets: []string{string(name)}, Outcome: OutcomeRolledBack, Reason: "refused",
		Steps: []ReceiptStep{{Step: "prove", TookMS: 12.5}}}}, nil
}

func (f *fakeBackend) Delete(_ context.Context, name secrets.Name) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.values[name]; !ok {
		return fmt.Errorf("%s: %w", name, secrets.ErrNotFound)
	}
	delete(f.values, name)
	return nil
}

func (f *fakeBackend) Migrate(_ context.Context, m Migration, report func(Progress)) error {
	report(Progress{Message: fmt.Sprintf("to %s, remove %v, overwrite %v", m.To, m.Remove, m.Overwrite)})
	if m.To == "locked" {
		return hint.Wrap(fmt.Errorf("open store: %w", secrets.ErrLocked), "unlock it")
	}
	return nil
}

func (f *fakeBackend) Events(ctx context.Context, q EventQuery, yield func(Event) error) error {
	return f.log.Read(ctx, q, yield)
}

func (f *fakeBackend) Logs(ctx context.Context, service string, follow bool, tail int, w io.Writer) error {
	if f.logs != nil {
		return f.logs(ctx, w)
	}
	_, err := fmt.Fprintf(w, "%s %v %d\n", service, follow, tail)
	return err
}

func (f *fakeBackend) Audit(ctx context.Context, report func(AuditLine) error) error {
	if f.audit != nil {
		return f.audit(ctx, report)
	}
	return report(AuditLine{Summary: &AuditSummary{Incomplete: []string{}}})
}
