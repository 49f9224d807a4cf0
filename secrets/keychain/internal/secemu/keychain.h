// What the two halves of the emulated keychain share: items (keychain.c) and who may do what to them (access.c).
// Everything here needs the mutex.
#ifndef SECEMU_KEYCHAIN_H
#define SECEMU_KEYCHAIN_H

#include "secemu.h"
#include <Security/Security.h>
#include <pthread.h>

enum { IDENTITIES = 4, NAME_SIZE = 64 };

struct identity {
    char application[NAME_SIZE], partition[NAME_SIZE];
};

// Who may read an item: an application of the list that is in a partition of the list.
struct access {
    char applications[IDENTITIES][NAME_SIZE], partitions[IDENTITIES][NAME_SIZE]; // "" ends a list
};

struct item {
    struct item *next;
    CFTypeRef service, account, label; // 0: none
    int elsewhere;                     // in another keychain than the default one, searched after it
    CFDataRef data;
    double created, modified;
    struct access access;
};

// One call of the framework, from its start to its end.
struct call {
    int operation;
    struct identity who;
    int allowed; // a dialog has allowed this call
    int garble;  // what it writes arrives damaged
};

enum { PROCEED = 0, AGAIN = 1 }; // beside the statuses, which are negative

extern pthread_mutex_t secemu_mutex;

struct call call_begin(int operation);
double clock_now(void);
bool is_locked(void);

// Judges whether call may do its operation on an item, which is 0 for one that is not there yet. PROCEED, a status, or AGAIN
// when it has waited: then the item may be another one, or gone, and is to be looked up anew.
OSStatus judge(struct call *, CFTypeRef service, CFTypeRef account, struct item *);

void access_create(struct access *, const struct identity *); // of a new item
void access_rewrite(struct access *, const struct identity *); // of an item whose data is written

void items_put(const char *service, const char *account, const void *data, size_t size, int elsewhere,
               const struct identity *);
void items_drop_all(void);
void count_read(void), count_write(void);

#endif
