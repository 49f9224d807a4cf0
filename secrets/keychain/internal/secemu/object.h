// What lies behind a CoreFoundation reference of the emulation.
#ifndef SECEMU_OBJECT_H
#define SECEMU_OBJECT_H

#include <CoreFoundation/CoreFoundation.h>

enum kind { STRING = 1, DATA, DICTIONARY, ARRAY, NUMBER, DATE, BOOLEAN, ITEM, KINDS };
enum { ALIVE = 0x43464f42, IMMORTAL = -1 };

struct object {
    uint32_t magic; // ALIVE, or 0 once released
    enum kind kind;
    long refs;         // IMMORTAL for constants
    CFIndex count;     // bytes, pairs or elements
    uint8_t *bytes;    // STRING, DATA
    uintptr_t *keys;   // DICTIONARY
    uintptr_t *values; // DICTIONARY, ARRAY
    double number;     // NUMBER, DATE, BOOLEAN
};

#define CONSTANT_STRING(name, text)                                                                                    \
    static struct object name##_object = {                                                                             \
        .magic = ALIVE, .kind = STRING, .refs = IMMORTAL, .count = sizeof text - 1, .bytes = (uint8_t *)text};         \
    const CFStringRef name = (CFStringRef)&name##_object;

struct object *cf(CFTypeRef); // aborts on a reference that is null or released
CFTypeRef cf_new(enum kind, CFIndex count);
CFTypeRef cf_retain(CFTypeRef);
void cf_set(CFTypeRef *slot, CFTypeRef value); // releases what slot held; value may be 0
bool cf_equal(CFTypeRef, CFTypeRef);           // either may be 0
CFTypeRef cf_get(CFDictionaryRef, CFTypeRef key); // 0: no such key
CFDataRef cf_data(const void *, CFIndex);
CFStringRef cf_string(const char *);
bool cf_is(CFTypeRef string, const char *text); // 0 is ""
long cf_live(void);                             // objects that are not yet released

#endif
