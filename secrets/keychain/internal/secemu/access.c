//go:build secemu

// Who may do what to an item, the lock, and what a test makes go wrong.
//
// An item is read without a dialog by an application of its access list that is in a partition of its partition list.
// A new item has its maker in both. Writing data sets the partition list to the writer's and keeps the access list
// (ItemImpl::updateSSGroup), so that after another program's write neither of the two reads without a dialog. Where there is no desktop,
// what would be a dialog is errSecInteractionNotAllowed. Another program's item is not deleted: errSecInvalidOwnerEdit.
// A locked keychain asks for its password at every use of a secret.

#include "keychain.h"
#include "object.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct rule {
    struct rule *next;
    int id;
    char *service, *account; // "": every one
    int operations, action, once;
    OSStatus status;
};

struct dialog {
    struct dialog *next;
    int answer; // 0: none yet
};

pthread_mutex_t secemu_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static struct rule *rules;
static struct dialog *dialogs;
static int last_rule, locked, desktop = 1, closing, waiting, resets, shown, reads, writes;
static double fixed_clock;

static const struct identity first = {"minibot", "teamid:MINIBOT"}, rival = {"rival", "cdhash:rival"};
static struct identity current = {"minibot", "teamid:MINIBOT"};

struct call call_begin(int operation) { return (struct call){.operation = operation, .who = current}; }

double clock_now(void) {
    return floor(fixed_clock ? fixed_clock : (double)time(NULL)) - kCFAbsoluteTimeIntervalSince1970;
}

bool is_locked(void) { return locked; }
void count_read(void) { reads++; }
void count_write(void) { writes++; }

static void await_change(void) { pthread_cond_wait(&changed, &secemu_mutex); }
static void wake(void) { pthread_cond_broadcast(&changed); }

static void start_waiting(void) {
    waiting++;
    wake();
}

static void stop_waiting(void) {
    waiting--;
    wake();
}

static bool listed(char list[IDENTITIES][NAME_SIZE], const char *name) {
    for (int i = 0; i < IDENTITIES; i++)
        if (!strcmp(list[i], name)) return true;
    return false;
}

static void append(char list[IDENTITIES][NAME_SIZE], const char *name) {
    if (listed(list, name)) return;
    for (int i = 0; i < IDENTITIES; i++) {
        if (*list[i]) continue;
        strcpy(list[i], name);
        return;
    }
    abort(); // more identities than a test needs
}

void access_create(struct access *a, const struct identity *who) {
    *a = (struct access){0};
    append(a->applications, who->application);
    append(a->partitions, who->partition);
}

void access_rewrite(struct access *a, const struct identity *who) {
    memset(a->partitions, 0, sizeof a->partitions);
    append(a->partitions, who->partition);
}

static bool grants(struct item *it, const struct identity *who) {
    return listed(it->access.applications, who->application) && listed(it->access.partitions, who->partition);
}

// ask shows a dialog until somebody answers or needed is over, and returns the answer, 0 when it is over.
static int ask(bool (*needed)(void)) {
    struct dialog d = {.next = dialogs};
    dialogs = &d;
    shown++;
    start_waiting();
    while (!d.answer && !closing && needed()) await_change();
    stop_waiting();
    for (struct dialog **at = &dialogs; *at; at = &(*at)->next) {
        if (*at == &d) {
            *at = d.next;
            break;
        }
    }
    return d.answer;
}

static bool always(void) { return true; }

static OSStatus judge_lock(void) {
    if (!locked) return PROCEED;
    if (!desktop) return errSecInteractionNotAllowed;
    switch (ask(is_locked)) {
    case SECEMU_REFUSE:
        return errSecUserCanceled;
    case SECEMU_ALLOW:
    case SECEMU_ALWAYS:
        locked = 0;
        wake();
    }
    return closing ? errSecNotAvailable : AGAIN;
}

static OSStatus judge_read(struct call *c, struct item *it) {
    if (!it || c->allowed || grants(it, &c->who)) return PROCEED;
    if (!desktop) return errSecInteractionNotAllowed;
    int answer = ask(always);
    if (closing) return errSecNotAvailable;
    if (answer == SECEMU_REFUSE) return errSecAuthFailed;
    c->allowed = answer;
    return AGAIN;
}

static struct rule *rule_for(int operation, CFTypeRef service, CFTypeRef account) {
    for (struct rule *r = rules; r; r = r->next)
        if (r->operations & operation && (!*r->service || cf_is(service, r->service)) &&
            (!*r->account || cf_is(account, r->account)))
            return r;
    return NULL;
}

static void lift(int id) {
    for (struct rule **at = &rules; *at; at = &(*at)->next) {
        struct rule *r = *at;
        if (r->id != id) continue;
        *at = r->next;
        free(r->service), free(r->account), free(r);
        return;
    }
}

static bool stands(int id) {
    for (struct rule *r = rules; r; r = r->next)
        if (r->id == id) return true;
    return false;
}

// befall does what a rule says to a call.
static OSStatus befall(struct call *c, CFTypeRef service, CFTypeRef account) {
    struct rule *r = rule_for(c->operation, service, account);
    if (!r) return PROCEED;
    int id = r->id, action = r->action;
    OSStatus status = r->status;
    if (action == SECEMU_RIVAL) items_put(r->service, r->account, "rival", 5, 0, &rival);
    if (r->once) lift(id);
    switch (action) {
    case SECEMU_FAIL:
        return status;
    case SECEMU_HANG:
        start_waiting();
        while (stands(id) && !closing) await_change();
        stop_waiting();
        return closing ? errSecNotAvailable : AGAIN;
    case SECEMU_LOCK:
        locked = 1;
        break;
    case SECEMU_GARBLE:
        c->garble = 1;
    }
    return PROCEED;
}

OSStatus judge(struct call *c, CFTypeRef service, CFTypeRef account, struct item *it) {
    OSStatus status = befall(c, service, account);
    if (status || c->operation == SECEMU_LIST || c->operation == SECEMU_STATUS) return status;
    if (it || c->operation == SECEMU_ADD) status = judge_lock();
    if (status) return status;
    if (c->operation == SECEMU_DELETE && it && !grants(it, &c->who)) return errSecInvalidOwnerEdit;
    if (c->operation != SECEMU_READ) return PROCEED;
    status = judge_read(c, it);
    if (!status && it && c->allowed == SECEMU_ALWAYS) {
        append(it->access.applications, c->who.application);
        append(it->access.partitions, c->who.partition);
    }
    return status;
}

#define CONTROL(statement)                                                                                             \
    pthread_mutex_lock(&secemu_mutex);                                                                                 \
    statement;                                                                                                         \
    wake();                                                                                                            \
    pthread_mutex_unlock(&secemu_mutex)

static void name(char *to, const char *from) {
    if (strlen(from) >= NAME_SIZE) abort();
    strcpy(to, from);
}

static void await_calls(int calls) {
    for (int now = resets; waiting < calls && resets == now;) await_change();
}

static void reset(void) {
    resets++;
    closing = 1;
    wake();
    while (waiting) await_change();
    closing = 0;
    while (rules) lift(rules->id);
    items_drop_all();
    locked = 0, desktop = 1, fixed_clock = 0;
    current = first;
}

static int rule(const char *service, const char *account, int operations, int action, int32_t status, int once) {
    struct rule *r = malloc(sizeof *r);
    if (!r) abort();
    *r = (struct rule){rules, ++last_rule, strdup(service), strdup(account), operations, action, once, status};
    rules = r;
    return r->id;
}

static void answer_all(int answer) {
    for (struct dialog *d = dialogs; d; d = d->next) d->answer = answer;
}

void secemu_reset(void) { CONTROL(reset()); }
void secemu_lock(int on) { CONTROL(locked = on); }
void secemu_desktop(int present) { CONTROL(desktop = present); }
void secemu_clock(double seconds) { CONTROL(fixed_clock = seconds); }
void secemu_lift(int id) { CONTROL(lift(id)); }
void secemu_answer(int answer) { CONTROL(answer_all(answer)); }
void secemu_await(int calls) { CONTROL(await_calls(calls)); }
void secemu_identity(const char *application, const char *partition) {
    CONTROL(name(current.application, application); name(current.partition, partition));
}
void secemu_put(const char *service, const char *account, const void *data, size_t size, int elsewhere) {
    CONTROL(items_put(service, account, data, size, elsewhere, &current));
}
int secemu_rule(const char *service, const char *account, int operations, int action, int32_t status, int once) {
    CONTROL(int id = rule(service, account, operations, action, status, once));
    return id;
}
int secemu_dialogs(void) {
    CONTROL(int n = shown);
    return n;
}
int secemu_reads(void) {
    CONTROL(int n = reads);
    return n;
}
int secemu_writes(void) {
    CONTROL(int n = writes);
    return n;
}
long secemu_live(void) { return cf_live(); }
