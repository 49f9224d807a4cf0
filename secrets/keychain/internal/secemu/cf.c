//go:build secemu

// CoreFoundation's objects with their reference counts. What was released stays allocated, so that a later use of
// it is certain to be seen, and aborts.

#include "object.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long live;

const CFAllocatorRef kCFAllocatorDefault = 0;
const CFTimeInterval kCFAbsoluteTimeIntervalSince1970 = 978307200.0;
const CFDictionaryKeyCallBacks kCFTypeDictionaryKeyCallBacks;
const CFDictionaryValueCallBacks kCFTypeDictionaryValueCallBacks;
const CFArrayCallBacks kCFTypeArrayCallBacks;

static struct object yes = {.magic = ALIVE, .kind = BOOLEAN, .refs = IMMORTAL, .number = 1};
static struct object no = {.magic = ALIVE, .kind = BOOLEAN, .refs = IMMORTAL};
const CFBooleanRef kCFBooleanTrue = (CFBooleanRef)&yes, kCFBooleanFalse = (CFBooleanRef)&no;

static void *allocate(size_t n) {
    void *p = calloc(1, n ? n : 1);
    if (!p) abort();
    return p;
}

struct object *cf(CFTypeRef ref) {
    struct object *o = (struct object *)ref;
    if (!o || __atomic_load_n(&o->magic, __ATOMIC_SEQ_CST) != ALIVE) {
        fprintf(stderr, "secemu: use of a null or released reference %p\n", (void *)o);
        abort();
    }
    return o;
}

static struct object *typed(CFTypeRef ref, enum kind kind) {
    struct object *o = cf(ref);
    if (o->kind != kind) {
        fprintf(stderr, "secemu: a reference of kind %d is used as kind %d\n", o->kind, kind);
        abort();
    }
    return o;
}

CFTypeRef cf_new(enum kind kind, CFIndex count) {
    struct object *o = allocate(sizeof *o);
    *o = (struct object){.magic = ALIVE, .kind = kind, .refs = 1, .count = count};
    if (kind == STRING || kind == DATA) o->bytes = allocate(count);
    if (kind == DICTIONARY) o->keys = allocate(count * sizeof *o->keys);
    if (kind == DICTIONARY || kind == ARRAY) o->values = allocate(count * sizeof *o->values);
    __atomic_add_fetch(&live, 1, __ATOMIC_SEQ_CST);
    return (CFTypeRef)o;
}

CFTypeRef cf_retain(CFTypeRef ref) {
    struct object *o = cf(ref);
    if (o->refs != IMMORTAL) __atomic_add_fetch(&o->refs, 1, __ATOMIC_SEQ_CST);
    return ref;
}

void CFRelease(CFTypeRef ref) {
    struct object *o = cf(ref);
    if (o->refs == IMMORTAL || __atomic_sub_fetch(&o->refs, 1, __ATOMIC_SEQ_CST)) return;
    __atomic_store_n(&o->magic, 0, __ATOMIC_SEQ_CST);
    for (CFIndex i = 0; o->keys && i < o->count; i++) CFRelease(o->keys[i]);
    for (CFIndex i = 0; o->values && i < o->count; i++) CFRelease(o->values[i]);
    free(o->bytes), free(o->keys), free(o->values);
    __atomic_sub_fetch(&live, 1, __ATOMIC_SEQ_CST);
}

void cf_set(CFTypeRef *slot, CFTypeRef value) {
    CFTypeRef old = *slot;
    *slot = value ? cf_retain(value) : 0;
    if (old) CFRelease(old);
}

long cf_live(void) { return __atomic_load_n(&live, __ATOMIC_SEQ_CST); }

bool cf_equal(CFTypeRef a, CFTypeRef b) {
    if (a == b) return true;
    if (!a || !b) return false;
    struct object *x = cf(a), *y = cf(b);
    if (x->kind != y->kind || x->count != y->count) return false;
    if (x->kind == STRING || x->kind == DATA) return !memcmp(x->bytes, y->bytes, x->count);
    return (x->kind == NUMBER || x->kind == DATE) && x->number == y->number;
}

CFTypeID CFGetTypeID(CFTypeRef ref) { return cf(ref)->kind; }
CFTypeID CFStringGetTypeID(void) { return STRING; }
CFTypeID CFDataGetTypeID(void) { return DATA; }
CFTypeID CFDictionaryGetTypeID(void) { return DICTIONARY; }
CFTypeID CFArrayGetTypeID(void) { return ARRAY; }
CFTypeID CFNumberGetTypeID(void) { return NUMBER; }
CFTypeID CFBooleanGetTypeID(void) { return BOOLEAN; }

CFStringRef CFCopyTypeIDDescription(CFTypeID id) {
    static const char *const names[KINDS] = {"?",        "CFString", "CFData",    "CFDictionary",   "CFArray",
                                             "CFNumber", "CFDate",   "CFBoolean", "SecKeychainItem"};
    return cf_string(names[id < KINDS ? id : 0]);
}

CFDataRef cf_data(const void *p, CFIndex n) {
    CFDataRef d = cf_new(DATA, n);
    if (n) memcpy(cf(d)->bytes, p, n);
    return d;
}

CFDataRef CFDataCreate(CFAllocatorRef a, const UInt8 *p, CFIndex n) { return cf_data(p, n); }
const UInt8 *CFDataGetBytePtr(CFDataRef d) { return typed(d, DATA)->bytes; }
CFIndex CFDataGetLength(CFDataRef d) { return typed(d, DATA)->count; }

CFStringRef CFStringCreateWithBytes(CFAllocatorRef a, const UInt8 *p, CFIndex n, CFStringEncoding e, Boolean bom) {
    CFStringRef s = cf_new(STRING, n);
    if (n) memcpy(cf(s)->bytes, p, n);
    return s;
}

CFStringRef cf_string(const char *text) {
    return CFStringCreateWithBytes(0, (const UInt8 *)text, strlen(text), kCFStringEncodingUTF8, 0);
}

bool cf_is(CFTypeRef s, const char *text) {
    CFIndex n = strlen(text);
    return s ? typed(s, STRING)->count == n && !memcmp(cf(s)->bytes, text, n) : n == 0;
}

// Only constants give their bytes away, as CoreFoundation may refuse to: so the way that copies is taken too.
const char *CFStringGetCStringPtr(CFStringRef s, CFStringEncoding e) {
    struct object *o = typed(s, STRING);
    return o->refs == IMMORTAL ? (const char *)o->bytes : NULL;
}

CFIndex CFStringGetLength(CFStringRef s) { // in UTF-16 units
    struct object *o = typed(s, STRING);
    CFIndex units = 0;
    for (CFIndex i = 0; i < o->count; i++) units += ((o->bytes[i] & 0xc0) != 0x80) + (o->bytes[i] >= 0xf0);
    return units;
}

CFIndex CFStringGetMaximumSizeForEncoding(CFIndex units, CFStringEncoding e) { return units * 3; }

CFIndex CFStringGetBytes(CFStringRef s, CFRange r, CFStringEncoding e, UInt8 loss, Boolean external, UInt8 *buf,
                         CFIndex max, CFIndex *used) {
    struct object *o = typed(s, STRING);
    *used = o->count < max ? o->count : max;
    memcpy(buf, o->bytes, *used);
    return r.length;
}

CFDictionaryRef CFDictionaryCreate(CFAllocatorRef a, const void **keys, const void **values, CFIndex n,
                                   const CFDictionaryKeyCallBacks *k, const CFDictionaryValueCallBacks *v) {
    CFDictionaryRef d = cf_new(DICTIONARY, n);
    for (CFIndex i = 0; i < n; i++) {
        cf(d)->keys[i] = cf_retain((CFTypeRef)keys[i]);
        cf(d)->values[i] = cf_retain((CFTypeRef)values[i]);
    }
    return d;
}

CFIndex CFDictionaryGetCount(CFDictionaryRef d) { return typed(d, DICTIONARY)->count; }

void CFDictionaryGetKeysAndValues(CFDictionaryRef d, const void **keys, const void **values) {
    struct object *o = typed(d, DICTIONARY);
    memcpy(keys, o->keys, o->count * sizeof *keys);
    memcpy(values, o->values, o->count * sizeof *values);
}

CFTypeRef cf_get(CFDictionaryRef d, CFTypeRef key) {
    struct object *o = typed(d, DICTIONARY);
    for (CFIndex i = 0; i < o->count; i++)
        if (cf_equal(o->keys[i], key)) return o->values[i];
    return 0;
}

CFArrayRef CFArrayCreate(CFAllocatorRef a, const void **values, CFIndex n, const CFArrayCallBacks *c) {
    CFArrayRef r = cf_new(ARRAY, n);
    for (CFIndex i = 0; i < n; i++) cf(r)->values[i] = cf_retain((CFTypeRef)values[i]);
    return r;
}

CFIndex CFArrayGetCount(CFArrayRef a) { return typed(a, ARRAY)->count; }
void CFArrayGetValues(CFArrayRef a, CFRange r, const void **values) {
    memcpy(values, typed(a, ARRAY)->values + r.location, r.length * sizeof *values);
}

CFNumberRef CFNumberCreate(CFAllocatorRef a, CFNumberType type, const void *p) {
    if (type != kCFNumberSInt32Type) abort(); // all that go-keychain makes
    CFNumberRef n = cf_new(NUMBER, 0);
    cf(n)->number = *(const SInt32 *)p;
    return n;
}

CFNumberType CFNumberGetType(CFNumberRef n) { return typed(n, NUMBER), kCFNumberSInt32Type; }
Boolean CFNumberGetValue(CFNumberRef n, CFNumberType type, void *p) {
    if (type != kCFNumberSInt32Type) abort();
    *(SInt32 *)p = typed(n, NUMBER)->number;
    return true;
}
Boolean CFBooleanGetValue(CFBooleanRef b) { return typed(b, BOOLEAN)->number != 0; }

CFDateRef CFDateCreate(CFAllocatorRef a, CFAbsoluteTime t) {
    CFDateRef d = cf_new(DATE, 0);
    cf(d)->number = t;
    return d;
}
CFAbsoluteTime CFDateGetAbsoluteTime(CFDateRef d) { return typed(d, DATE)->number; }
