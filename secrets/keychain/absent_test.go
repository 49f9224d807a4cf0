//go:build !((darwin && !ios && cgo) || secemu)

package keychain_test

import (
	"errors"
	"strings"
	"testing"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/keychain"
)

func TestBuildWithoutAKeychain(t *testing.T) {
	s, err := keychain.Open(t.Context(), keychain.Options{})
	if keychain.Available || s != nil || !errors.Is(err, secrets.ErrUnavailable) || !strings.Contains(hint.Of(err), `"security"`) {
		t.Errorf("got %v, %v, hint %q", s, err, hint.Of(err))
	}
}
