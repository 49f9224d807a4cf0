//go:build (darwin && !ios && cgo) || secemu

package lockstate

/*
#cgo !secemu LDFLAGS: -framework CoreFoundation -framework Security
#cgo !secemu CFLAGS: -Wno-deprecated-declarations
#cgo secemu CFLAGS: -I${SRCDIR}/../secemu/include
#include <Security/Security.h>

// SecKeychainGetStatus is deprecated, as the file-based keychain is, and has no successor.
static OSStatus defaultKeychainStatus(UInt32 *flags) {
    SecKeychainStatus status = 0;
    OSStatus err = SecKeychainGetStatus(0, &status);
    *flags = status & kSecUnlockStateStatus;
    return err;
}
*/
import "C"

// Unlocked reports whether the default keychain is unlocked in the session of this process. A status other than 0 is the
// OSStatus why that is not known: there is no default keychain, or no file behind it.
func Unlocked() (unlocked bool, status int) {
	var flags C.UInt32
	if status := C.defaultKeychainStatus(&flags); status != 0 {
		return false, int(status)
	}
	return flags != 0, 0
}
