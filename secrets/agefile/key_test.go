package agefile

import (
	"errors"
	"testing"

	"minibot/hint"
	"minibot/secrets"
)

func TestCheckPrivate(t *testing.T) {
	for _, test := range []struct {
		mode, owner uint32
		self        int
		hint        string
	}{
		{0o600, 501, 501, ""},
		{0o400, 501, 501, ""},
		{0o640, 501, 501, "chmod 600 K"},
		{0o604, 501, 501, "chmod 600 K"},
		{0o700, 501, 501, "chmod 600 K"},
		{0o600, 0, 501, "chown 501 K && chmod 600 K"},
		{0o600, 501, 0, "chown 0 K && chmod 600 K"},
	} {
		err := checkPrivate("K", test.mode, test.owner, test.self)
		if hint.Of(err) != test.hint || errors.Is(err, secrets.ErrDenied) != (test.hint != "") {
			t.Errorf("%+v: got %v, hint %q", test, err, hint.Of(err))
		}
	}
}
