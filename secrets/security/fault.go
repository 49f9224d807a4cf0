package security

import (
	"fmt"

	"minibot/hint"
	"minibot/secrets"
)

// OSStatus values of Security/SecBase.h that the program answers with. It exits with the low byte of the last one.
const (
	statusUsage         = 2      // of the program's own
	statusCancelled     = -128   // 128
	statusReadOnly      = -25292 // 52
	statusDenied        = -25293 // 51
	statusNoKeychain    = -25294 // 50
	statusBadKeychain   = -25295 // 49
	statusDuplicate     = -25299 // 45
	statusNotFound      = -25300 // 44
	statusNoDefault     = -25307 // 37
	statusNoInteraction = -25308 // 36
	statusInteraction   = -25315 // 29
)

// statuses finds a status by its low byte, for an exit that says no more.
var statuses = func() map[int]int {
	m := map[int]int{}
	for _, status := range []int{
		statusUsage, statusCancelled, statusReadOnly, statusDenied, statusNoKeychain, statusBadKeychain, statusDuplicate,
		statusNotFound, statusNoDefault, statusNoInteraction, statusInteraction,
	} {
		m[status&0xff] = status
	}
	return m
}()

// fault is the error for a status other than 0.
func fault(status int) error {
	const inKeychainAccess = "allow it in the dialog, with Always Allow; or in Keychain Access, in the item's Access Control, add /usr/bin/security"
	switch status {
	case statusNotFound:
		return secrets.ErrNotFound
	case statusNoInteraction, statusInteraction:
		return hint.Wrap(fmt.Errorf("%w, or needs a dialog that cannot be shown here", secrets.ErrLocked),
			"security unlock-keychain, in this session (over SSH it is locked even while the desktop has it open); "+
				"what another program has stored is released by a dialog on the Mac's desktop only")
	case statusDenied:
		return hint.Wrap(fmt.Errorf("%w by the keychain", secrets.ErrDenied), inKeychainAccess)
	case statusCancelled:
		return hint.Wrap(fmt.Errorf("%w: the dialog was cancelled", secrets.ErrDenied), inKeychainAccess)
	case statusDuplicate:
		return hint.Wrap(fmt.Errorf("%w: the item exists and cannot be changed", secrets.ErrDenied), inKeychainAccess)
	case statusReadOnly:
		return hint.Wrap(fmt.Errorf("%w: the keychain is read-only", secrets.ErrDenied), "make the keychain file and its directory writable")
	case statusNoKeychain, statusNoDefault:
		return hint.Wrap(fmt.Errorf("%w: there is no such keychain", secrets.ErrNoStore),
			"security default-keychain -s login.keychain-db; security list-keychains shows those in use")
	case statusBadKeychain:
		return hint.Wrap(fmt.Errorf("%w: the keychain file cannot be read", secrets.ErrDamaged), "put the keychain file back from a backup")
	}
	err := fmt.Errorf("%w: /usr/bin/security answered %d", secrets.ErrUnavailable, status)
	return hint.Wrap(err, "security error %d says what it means", status)
}
