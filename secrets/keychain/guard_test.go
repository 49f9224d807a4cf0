//go:build secemu

package keychain

import (
	"errors"
	"testing"

	"minibot/secrets/keychain/internal/secemu"
)

// An empty service or account would mean any item to go-keychain, and a NUL byte would cut a name short.
func TestUnnamedNeverReachesTheKeychain(t *testing.T) {
	secemu.Reset()
	defer secemu.Reset()
	secemu.Put("canary.service", "CANARY", "canary-value")
	secemu.Put("canary.service", "", "canary-nameless")
	reads, writes := secemu.Reads(), secemu.Writes()
	for _, at := range []place{{"", ""}, {"canary.service", ""}, {"", "CANARY"}, {"canary.service\x00x", "CANARY"}, {"canary.service", "CANARY\x00x"}} {
		_, errLookUp := lookUp(at.service, at.account)
		for what, err := range map[string]error{
			"lookUp": errLookUp,
			"update": update(at.service, at.account, []byte("canary-other")),
			"add":    add(at.service, at.account, []byte("canary-other")),
			"remove": remove(at.service, at.account),
		} {
			if !errors.Is(err, errUnnamed) {
				t.Errorf("%s of %q: got %v", what, at, err)
			}
		}
	}
	for _, service := range []string{"", "canary.service\x00x"} {
		if _, err := attributes(service); !errors.Is(err, errUnnamed) {
			t.Errorf("attributes of %q: got %v", service, err)
		}
	}
	if secemu.Reads() != reads || secemu.Writes() != writes {
		t.Error("an item was read or changed")
	}
	if _, err := (&Store{timeout: defaultTimeout}).Get(t.Context(), "CANARY", 0); !errors.Is(err, errUnnamed) {
		t.Errorf("a store without a service: got %v", err)
	}
}
