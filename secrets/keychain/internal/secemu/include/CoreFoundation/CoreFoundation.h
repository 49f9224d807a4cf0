// The part of CoreFoundation that go-keychain uses. Every reference is a uintptr_t: for GOOS=darwin cgo maps the types
// CFxxxRef to uintptr, and go-keychain's source relies on it; with pointer types it would not compile elsewhere.
#ifndef SECEMU_COREFOUNDATION_H
#define SECEMU_COREFOUNDATION_H

#include <stdbool.h>
#include <stdint.h>

typedef uintptr_t CFTypeRef, CFAllocatorRef, CFStringRef, CFDataRef, CFDictionaryRef, CFArrayRef, CFNumberRef, CFDateRef,
    CFBooleanRef;
typedef long CFIndex;
typedef unsigned long CFTypeID;
typedef unsigned char Boolean;
typedef uint8_t UInt8;
typedef uint32_t UInt32;
typedef int8_t SInt8;
typedef int16_t SInt16;
typedef int32_t SInt32, OSStatus;
typedef int64_t SInt64;
typedef float Float32;
typedef double Float64, CFTimeInterval, CFAbsoluteTime;
typedef uint32_t CFStringEncoding;
typedef CFIndex CFNumberType;
typedef struct {
    CFIndex location, length;
} CFRange;
typedef struct {
    CFIndex version;
} CFDictionaryKeyCallBacks, CFDictionaryValueCallBacks, CFArrayCallBacks;

enum { kCFStringEncodingUTF8 = 0x08000100 };
enum {
    kCFNumberSInt8Type = 1,
    kCFNumberSInt16Type,
    kCFNumberSInt32Type,
    kCFNumberSInt64Type,
    kCFNumberFloat32Type,
    kCFNumberFloat64Type,
    kCFNumberCharType,
    kCFNumberShortType,
    kCFNumberIntType,
    kCFNumberLongType,
    kCFNumberLongLongType,
    kCFNumberFloatType,
    kCFNumberDoubleType,
    kCFNumberCFIndexType,
    kCFNumberNSIntegerType,
};

extern const CFAllocatorRef kCFAllocatorDefault;
extern const CFBooleanRef kCFBooleanTrue, kCFBooleanFalse;
extern const CFTimeInterval kCFAbsoluteTimeIntervalSince1970;
extern const CFDictionaryKeyCallBacks kCFTypeDictionaryKeyCallBacks;
extern const CFDictionaryValueCallBacks kCFTypeDictionaryValueCallBacks;
extern const CFArrayCallBacks kCFTypeArrayCallBacks;

void CFRelease(CFTypeRef);
CFTypeID CFGetTypeID(CFTypeRef);
CFStringRef CFCopyTypeIDDescription(CFTypeID);
CFTypeID CFStringGetTypeID(void), CFDataGetTypeID(void), CFDictionaryGetTypeID(void), CFArrayGetTypeID(void),
    CFNumberGetTypeID(void), CFBooleanGetTypeID(void);

CFDataRef CFDataCreate(CFAllocatorRef, const UInt8 *, CFIndex);
const UInt8 *CFDataGetBytePtr(CFDataRef);
CFIndex CFDataGetLength(CFDataRef);

CFStringRef CFStringCreateWithBytes(CFAllocatorRef, const UInt8 *, CFIndex, CFStringEncoding, Boolean);
const char *CFStringGetCStringPtr(CFStringRef, CFStringEncoding);
CFIndex CFStringGetLength(CFStringRef);
CFIndex CFStringGetMaximumSizeForEncoding(CFIndex, CFStringEncoding);
CFIndex CFStringGetBytes(CFStringRef, CFRange, CFStringEncoding, UInt8, Boolean, UInt8 *, CFIndex, CFIndex *);

CFDictionaryRef CFDictionaryCreate(CFAllocatorRef, const void **, const void **, CFIndex,
                                   const CFDictionaryKeyCallBacks *, const CFDictionaryValueCallBacks *);
CFIndex CFDictionaryGetCount(CFDictionaryRef);
void CFDictionaryGetKeysAndValues(CFDictionaryRef, const void **, const void **);

CFArrayRef CFArrayCreate(CFAllocatorRef, const void **, CFIndex, const CFArrayCallBacks *);
CFIndex CFArrayGetCount(CFArrayRef);
void CFArrayGetValues(CFArrayRef, CFRange, const void **);

CFNumberRef CFNumberCreate(CFAllocatorRef, CFNumberType, const void *);
CFNumberType CFNumberGetType(CFNumberRef);
Boolean CFNumberGetValue(CFNumberRef, CFNumberType, void *);
Boolean CFBooleanGetValue(CFBooleanRef);

CFDateRef CFDateCreate(CFAllocatorRef, CFAbsoluteTime);
CFAbsoluteTime CFDateGetAbsoluteTime(CFDateRef);

#endif
