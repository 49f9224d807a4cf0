//go:build secemu

// The items of a file-based keychain and the SecItem calls on them, for a process without entitlements, after Apple's
// SecItem.cpp, Item.cpp and Keychains.cpp:
//   - one generic password for a service and an account; the label defaults to the service;
//   - access group, accessibility and "synchronizable: no" are ignored; "synchronizable: yes" wants an entitlement;
//   - one match at most, for update and delete too, unless kSecMatchLimitAll; with that a password's data is errSecParam;
//   - an attribute that a query leaves out matches any;
//   - attributes are readable while the keychain is locked;
//   - dates have whole seconds.

#include "keychain.h"
#include "object.h"
#include <stdlib.h>

#define TEXT CONSTANT_STRING
#include <Security/constants.def>
#undef TEXT

static struct item *items; // newest first: nobody should count on an order

struct query {
    CFTypeRef service, account; // 0: any
    bool all, data, attributes;
};

static bool flag(CFDictionaryRef d, CFTypeRef key) { return cf_get(d, key) == kCFBooleanTrue; }

static OSStatus parse(CFDictionaryRef d, struct query *q) {
    if (!d || !cf_equal(cf_get(d, kSecClass), kSecClassGenericPassword)) return errSecParam;
    if (flag(d, kSecAttrSynchronizable)) return errSecMissingEntitlement;
    *q = (struct query){
        .service = cf_get(d, kSecAttrService),
        .account = cf_get(d, kSecAttrAccount),
        .all = cf_equal(cf_get(d, kSecMatchLimit), kSecMatchLimitAll),
        .data = flag(d, kSecReturnData),
        .attributes = flag(d, kSecReturnAttributes),
    };
    return errSecSuccess;
}

static struct item *find(struct item *from, const struct query *q) {
    for (struct item *it = from; it; it = it->next)
        if ((!q->service || cf_equal(q->service, it->service)) && (!q->account || cf_equal(q->account, it->account)))
            return it;
    return NULL;
}

static struct item *find_key(CFTypeRef service, CFTypeRef account) {
    for (struct item *it = items; it; it = it->next)
        if (!it->elsewhere && cf_equal(service, it->service) && cf_equal(account, it->account)) return it;
    return NULL;
}

// append puts an item after every other.
static void append(struct item *it) {
    struct item **at = &items;
    while (*at) at = &(*at)->next;
    *at = it;
    it->next = NULL;
}

static void set_data(struct item *it, CFDataRef data, const struct call *c) {
    CFDataRef copy = data ? cf_data(CFDataGetBytePtr(data), CFDataGetLength(data) - (c->garble ? 1 : 0)) : cf_data(NULL, 0);
    cf_set(&it->data, copy);
    CFRelease(copy);
    it->modified = clock_now();
}

static struct item *insert(CFTypeRef service, CFTypeRef account, CFTypeRef label, CFDataRef data, const struct call *c) {
    struct item *it = calloc(1, sizeof *it);
    if (!it) abort();
    cf_set(&it->service, service);
    cf_set(&it->account, account);
    cf_set(&it->label, label ? label : service);
    set_data(it, data, c);
    it->created = it->modified;
    access_create(&it->access, &c->who);
    it->next = items;
    items = it;
    return it;
}

static void drop(struct item *gone) {
    for (struct item **at = &items; *at; at = &(*at)->next) {
        if (*at != gone) continue;
        *at = gone->next;
        cf_set(&gone->service, 0), cf_set(&gone->account, 0), cf_set(&gone->label, 0), cf_set(&gone->data, 0);
        free(gone);
        return;
    }
}

void items_put(const char *service, const char *account, const void *data, size_t size, int elsewhere,
               const struct identity *who) {
    CFTypeRef s = cf_string(service), a = *account ? cf_string(account) : 0, d = cf_data(data, size);
    struct call c = {.who = *who};
    struct item *it = elsewhere ? NULL : find_key(s, a);
    if (it) {
        set_data(it, d, &c);
        access_rewrite(&it->access, who);
    } else {
        it = insert(s, a, 0, d, &c);
        if (elsewhere) {
            items = it->next;
            it->elsewhere = 1;
            append(it);
        }
    }
    CFRelease(s), CFRelease(d);
    if (a) CFRelease(a);
}

void items_drop_all(void) {
    while (items) drop(items);
}

static CFTypeRef describe(const struct item *it, const struct query *q) {
    if (q->data && !q->attributes) return cf_retain(it->data);
    if (!q->data && !q->attributes) return cf_new(ITEM, 0); // a reference is what one gets who asks for nothing
    const void *keys[8], *values[8];
    CFDateRef created = CFDateCreate(0, it->created), modified = CFDateCreate(0, it->modified);
    int n = 0;
#define PUT(key, value)                                                                                                \
    if (value) keys[n] = (const void *)(key), values[n++] = (const void *)(value)
    if (q->data) PUT(kSecValueData, it->data);
    PUT(kSecClass, kSecClassGenericPassword);
    PUT(kSecAttrCreationDate, created);
    PUT(kSecAttrModificationDate, modified);
    PUT(kSecAttrService, it->service);
    PUT(kSecAttrAccount, it->account);
    PUT(kSecAttrLabel, it->label);
#undef PUT
    CFDictionaryRef d = CFDictionaryCreate(0, keys, values, n, NULL, NULL);
    CFRelease(created), CFRelease(modified);
    return d;
}

static OSStatus copy_all(struct call *c, const struct query *q, CFTypeRef *result) {
    if (q->data) return errSecParam;
    OSStatus status;
    do status = judge(c, q->service, q->account, NULL);
    while (status == AGAIN);
    if (status) return status;
    CFIndex n = 0;
    for (struct item *it = items; (it = find(it, q)); it = it->next) n++;
    if (!n) return errSecItemNotFound;
    *result = cf_new(ARRAY, n);
    n = 0;
    for (struct item *it = items; (it = find(it, q)); it = it->next) cf(*result)->values[n++] = describe(it, q);
    return errSecSuccess;
}

static OSStatus copy_one(struct call *c, const struct query *q, CFTypeRef *result) {
    for (;;) {
        struct item *it = find(items, q);
        OSStatus status = judge(c, it ? it->service : q->service, it ? it->account : q->account, it);
        if (status == AGAIN) continue;
        if (status) return status;
        if (!it) return errSecItemNotFound;
        if (q->data) count_read();
        *result = describe(it, q);
        return errSecSuccess;
    }
}

static OSStatus copy_matching(CFDictionaryRef d, CFTypeRef *result) {
    struct query q;
    OSStatus status = parse(d, &q);
    if (status) return status;
    struct call c = call_begin(q.data ? SECEMU_READ : SECEMU_LIST);
    CFTypeRef found = 0;
    status = q.all ? copy_all(&c, &q, &found) : copy_one(&c, &q, &found);
    if (!status && result) *result = found;
    else if (found) CFRelease(found);
    return status;
}

static OSStatus add(CFDictionaryRef d) {
    struct query q;
    OSStatus status = parse(d, &q);
    if (status) return status;
    struct call c = call_begin(SECEMU_ADD);
    do status = judge(&c, q.service, q.account, NULL);
    while (status == AGAIN);
    if (status) return status;
    if (find_key(q.service, q.account)) return errSecDuplicateItem;
    insert(q.service, q.account, cf_get(d, kSecAttrLabel), cf_get(d, kSecValueData), &c);
    count_write();
    return errSecSuccess;
}

static OSStatus apply(struct item *it, CFDictionaryRef changes, const struct call *c) {
    CFTypeRef service = cf_get(changes, kSecAttrService), account = cf_get(changes, kSecAttrAccount);
    struct item *other = find_key(service ? service : it->service, account ? account : it->account);
    if (other && other != it) return errSecDuplicateItem;
    if (service) cf_set(&it->service, service);
    if (account) cf_set(&it->account, account);
    CFDataRef data = cf_get(changes, kSecValueData);
    if (data) {
        set_data(it, data, c);
        access_rewrite(&it->access, &c->who);
    }
    return errSecSuccess;
}

// change updates with changes, or deletes when there are none.
static OSStatus change(CFDictionaryRef d, CFDictionaryRef changes) {
    struct query q;
    OSStatus status = parse(d, &q);
    if (status) return status;
    struct call c = call_begin(changes ? SECEMU_UPDATE : SECEMU_DELETE);
    for (;;) {
        struct item *it = find(items, &q);
        status = judge(&c, it ? it->service : q.service, it ? it->account : q.account, it);
        if (status == AGAIN) continue;
        if (!status && !it) status = errSecItemNotFound;
        if (!status && changes) status = apply(it, changes, &c);
        else if (!status) drop(it);
        if (!status) count_write();
        return status;
    }
}

#define WITH_MUTEX(expression)                                                                                         \
    pthread_mutex_lock(&secemu_mutex);                                                                                 \
    OSStatus status = (expression);                                                                                    \
    pthread_mutex_unlock(&secemu_mutex);                                                                               \
    return status

OSStatus SecItemAdd(CFDictionaryRef item, CFTypeRef *result) { WITH_MUTEX(add(item)); }
OSStatus SecItemCopyMatching(CFDictionaryRef q, CFTypeRef *result) { WITH_MUTEX(copy_matching(q, result)); }
OSStatus SecItemUpdate(CFDictionaryRef q, CFDictionaryRef changes) { WITH_MUTEX(change(q, changes)); }
OSStatus SecItemDelete(CFDictionaryRef q) { WITH_MUTEX(change(q, 0)); }

static OSStatus keychain_status(SecKeychainStatus *s) {
    struct call c = call_begin(SECEMU_STATUS);
    OSStatus status;
    do status = judge(&c, 0, 0, NULL);
    while (status == AGAIN);
    if (!status) *s = kSecReadPermStatus | (is_locked() ? 0 : kSecUnlockStateStatus | kSecWritePermStatus);
    return status;
}

OSStatus SecKeychainGetStatus(SecKeychainRef keychain, SecKeychainStatus *s) { WITH_MUTEX(keychain_status(s)); }
