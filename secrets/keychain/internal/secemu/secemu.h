// What a test may do to the emulated keychain. All of it may be called at any time, from any thread.
#ifndef SECEMU_H
#define SECEMU_H

#include <stddef.h>
#include <stdint.h>

enum { SECEMU_READ = 1, SECEMU_ADD = 2, SECEMU_UPDATE = 4, SECEMU_DELETE = 8, SECEMU_LIST = 16, SECEMU_STATUS = 32 };
enum { SECEMU_FAIL, SECEMU_HANG, SECEMU_LOCK, SECEMU_RIVAL, SECEMU_GARBLE };
enum { SECEMU_ALLOW = 1, SECEMU_ALWAYS, SECEMU_REFUSE };

// The state of a new keychain: empty, unlocked, a desktop, the first identity, the real clock, no rules. Calls that wait
// return errSecNotAvailable.
void secemu_reset(void);
void secemu_lock(int locked);
void secemu_desktop(int present);                                   // whether dialogs can be shown
void secemu_identity(const char *application, const char *partition); // whose calls the next ones are
void secemu_clock(double unix_seconds);                             // 0: the real clock

// Writes an item as the current identity: in the default keychain, or a new one in another, which is searched after it.
void secemu_put(const char *service, const char *account, const void *data, size_t size, int elsewhere);

// From here on, until it is lifted, an action befalls the operations on an item; "" stands for every service or account.
// With once it befalls one call. Returns what lifts it.
int secemu_rule(const char *service, const char *account, int operations, int action, int32_t status, int once);
void secemu_lift(int rule);

void secemu_await(int calls);   // until so many calls wait, at a dialog or at SECEMU_HANG, or a reset
void secemu_answer(int answer); // to every dialog that is shown
int secemu_dialogs(void);       // how many were shown so far
int secemu_reads(void);         // how many values were read so far
int secemu_writes(void);        // how many changes succeeded so far
long secemu_live(void);         // CoreFoundation objects that are not released

#endif
