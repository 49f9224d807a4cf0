package keychain

import (
	"errors"
	"fmt"

	"minibot/hint"
	"minibot/secrets"
)

// status is what the Security framework answered: an OSStatus of SecBase.h.
type status int

const (
	userCanceled          status = -128
	noAccessForItem       status = -25243
	invalidOwnerEdit      status = -25244
	notAvailable          status = -25291
	authFailed            status = -25293
	noSuchKeychain        status = -25294
	invalidKeychain       status = -25295
	duplicateItem         status = -25299
	itemNotFound          status = -25300
	noDefaultKeychain     status = -25307
	interactionNotAllowed status = -25308
	missingEntitlement    status = -34018
)

var statusText = map[status]string{
	userCanceled:          "somebody cancelled the dialog",
	noAccessForItem:       "the item has no access list",
	invalidOwnerEdit:      "the item is another program's",
	notAvailable:          "there is no keychain",
	authFailed:            "access was refused",
	noSuchKeychain:        "the default keychain does not exist",
	invalidKeychain:       "the default keychain is no keychain",
	duplicateItem:         "the item exists in a keychain that is not searched",
	itemNotFound:          "no such item",
	noDefaultKeychain:     "there is no default keychain",
	interactionNotAllowed: "a dialog would be needed, and none can be shown here",
	missingEntitlement:    "the program lacks an entitlement",
}

func (s status) Error() string {
	text := statusText[s]
	if text == "" {
		text = "the keychain failed"
	}
	return fmt.Sprintf("%s (OSStatus %d)", text, int(s))
}

// explain wraps what the keychain answered to a call on an item in the sentinel that callers look for and the advice that mends it.
//
// errSecInteractionNotAllowed does not tell a locked keychain from an item whose access list does not have this program, and a refused
// dialog not which of the two has asked; the lock state does.
func (s *Store) explain(err error, at place) error {
	var code status
	if !errors.As(err, &code) {
		return err
	}
	switch code {
	case itemNotFound:
		return secrets.ErrNotFound
	case interactionNotAllowed, authFailed, userCanceled:
		if err := s.usable(); err != nil { // the dialog was that of the lock
			return err
		}
		return denied(code, "run minibotd in the desktop session, not over SSH, and answer the dialog there with Always Allow; or %s", allow(at))
	case noAccessForItem:
		return denied(code, "%s", allow(at))
	case invalidOwnerEdit:
		return denied(code, "remove the item as its owner does, with Keychain Access or: security delete-generic-password -s %s -a %s; then try again", at.service, at.account)
	case missingEntitlement:
		return denied(code, "sign the program anew (codesign --force --sign IDENTITY), or choose the store \"security\" in config.toml")
	case notAvailable, noSuchKeychain, invalidKeychain, noDefaultKeychain:
		return unavailable(code)
	case duplicateItem:
		return hint.Wrap(code, "compare security default-keychain with security list-keychains: the first must be one of the second")
	}
	return hint.Wrap(code, "security error %d tells what macOS means by it", int(code))
}

func denied(code status, format string, args ...any) error {
	return hint.Wrap(fmt.Errorf("%w: %w", secrets.ErrDenied, code), format, args...)
}

func allow(at place) string {
	what := fmt.Sprintf("the item %s with the account %s", at.service, at.account)
	if at.account == "" {
		what = "each item " + at.service
	}
	return fmt.Sprintf("in Keychain Access open %s and allow this program under Access Control", what)
}

func unavailable(code status) error {
	return hint.Wrap(fmt.Errorf("%w: %w", secrets.ErrUnavailable, code),
		"log in at the Mac's desktop once, and see what this says: security default-keychain")
}

// present reports whether the default keychain is unlocked, or wraps [secrets.ErrUnavailable] when that is not to be known.
func (s *Store) present() (isUnlocked bool, err error) {
	isUnlocked, err = unlocked()
	var code status
	if errors.As(err, &code) {
		err = unavailable(code)
	}
	return isUnlocked, err
}

// usable wraps [secrets.ErrLocked] unless the default keychain is unlocked. It shows no dialog, whereas any use of a value in a
// locked keychain would, at each poll of a daemon that waits.
func (s *Store) usable() error {
	isUnlocked, err := s.present()
	if err == nil && !isUnlocked {
		err = hint.Wrap(secrets.ErrLocked, "security unlock-keychain; over SSH the keychain is locked even while the desktop has it open, so run minibotd in the desktop session")
	}
	return err
}
