// The part of Security.framework that go-keychain and lockstate use.
#ifndef SECEMU_SECURITY_H
#define SECEMU_SECURITY_H

#include <CoreFoundation/CoreFoundation.h>

#define CODE(name, value) name = value,
enum {
#include <Security/codes.def>
};
#undef CODE

#define TEXT(name, text) extern const CFStringRef name;
#include <Security/constants.def>
#undef TEXT

OSStatus SecItemAdd(CFDictionaryRef, CFTypeRef *);
OSStatus SecItemCopyMatching(CFDictionaryRef, CFTypeRef *);
OSStatus SecItemUpdate(CFDictionaryRef, CFDictionaryRef);
OSStatus SecItemDelete(CFDictionaryRef);

typedef uintptr_t SecKeychainRef;
typedef UInt32 SecKeychainStatus;
enum { kSecUnlockStateStatus = 1, kSecReadPermStatus = 2, kSecWritePermStatus = 4 };

OSStatus SecKeychainGetStatus(SecKeychainRef, SecKeychainStatus *); // 0: the default keychain

#endif
