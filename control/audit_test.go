package control

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

func TestAuditArrivesLineByLine(t *testing.T) {
	f := newFake(t)
	want := []AuditLine{
		{Progress: "containers"},
		{Finding: &Finding{Code: "leaked", Severity: SeverityHigh, Secret: "A", Slot: "current", Form: "base64", Place: "container x, Config.Env[2]", Service: "x", Message: "m", Hint: "h"}},
		{Summary: &AuditSummary{Searched: 12, Places: 3, High: 1, Incomplete: []string{"a log"}}},
	}
	seen := make(chan struct{})
	f.audit = func(_ context.Context, report func(AuditLine) error) error {
		for i, line := range want {
			if i == len(want)-1 {
				<-seen // the others are there before the end
			}
			if err := report(line); err != nil {
				return err
			}
		}
		return nil
	}
	c, _ := serve(t, &Server{Backend: f})
	var got []AuditLine
	err := c.Audit(t.Context(), func(line AuditLine) error {
		if got = append(got, line); line.Finding != nil {
			close(seen)
		}
		return nil
	})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
}

func TestAnAuditThatFailsSaysWhy(t *testing.T) {
	f := newFake(t)
	c, _ := serve(t, &Server{Backend: f})
	for name, before := range map[string][]AuditLine{"at once": nil, "later": {{Progress: "containers"}}} {
		f.audit = func(_ context.Context, report func(AuditLine) error) error {
			for _, line := range before {
				if err := report(line); err != nil {
					return err
				}
			}
			return hint.Wrap(secrets.ErrLocked, "unlock it")
		}
		err := c.Audit(t.Context(), func(AuditLine) error { return nil })
		if !errors.Is(err, secrets.ErrLocked) || hint.Of(err) != "unlock it" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An audit without a summary was cut short, and must not look like one that found nothing.
func TestAnAuditThatBreaksOffIsNoCleanOne(t *testing.T) {
	f := newFake(t)
	c, _ := serve(t, &Server{Backend: f})
	for name, audit := range map[string]func(context.Context, func(AuditLine) error) error{
		"without a summary": func(_ context.Context, report func(AuditLine) error) error { return report(AuditLine{Progress: "x"}) },
		"with nothing":      func(context.Context, func(AuditLine) error) error { return nil },
		"with a panic": func(_ context.Context, report func(AuditLine) error) error {
			_ = report(AuditLine{Progress: "x"}) // the panic is the point
			panic(http.ErrAbortHandler)
		},
	} {
		f.audit = audit
		if err := c.Audit(t.Context(), func(AuditLine) error { return nil }); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnAuditEndsWithItsCaller(t *testing.T) {
	f := newFake(t)
	ended := make(chan error, 1)
	f.audit = func(ctx context.Context, report func(AuditLine) error) error {
		if err := report(AuditLine{Progress: "containers"}); err != nil {
			return err
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	c, _ := serve(t, &Server{Backend: f})
	enough := errors.New("enough")
	if err := c.Audit(t.Context(), func(AuditLine) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}

func TestAuditTakesNoQuery(t *testing.T) {
	c, _ := serve(t, &Server{Backend: newFake(t)})
	resp, err := c.do(t.Context(), http.MethodGet, "/v1/audit?quick=true", nil)
	if err == nil {
		closeBody(resp)
	}
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeUsage {
		t.Errorf("got %v", err)
	}
}
