package hint_test

import (
	"errors"
	"fmt"
	"testing"

	"minibot/hint"
)

func TestHint(t *testing.T) {
	base := errors.New("disk full")
	inner := hint.Wrap(base, "free some space on %s", "/data")
	outer := hint.Wrap(fmt.Errorf("put: %w", inner), "call somebody")
	if outer.Error() != "put: disk full" || !errors.Is(outer, base) {
		t.Errorf("the error changed: %v", outer)
	}
	for want, err := range map[string]error{"free some space on /data": fmt.Errorf("put: %w", inner), "call somebody": errors.Join(errors.New("x"), outer), "": base} {
		if got := hint.Of(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if hint.Wrap(nil, "nothing") != nil || hint.Of(nil) != "" {
		t.Error("a nil error has a hint")
	}
}
