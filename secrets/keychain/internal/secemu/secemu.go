//go:build secemu

package secemu

/*
#cgo CFLAGS: -I${SRCDIR}/include -Wall -Wextra -Wno-unused-parameter
#cgo LDFLAGS: -lm -lpthread
#include <stdlib.h>
#include "secemu.h"
*/
import "C"

import (
	"time"
	"unsafe"
)

// Op is a set of operations.
type Op int

// The operations. List reads attributes without values; Status asks whether the default keychain is unlocked.
const (
	Read   Op = C.SECEMU_READ
	Add    Op = C.SECEMU_ADD
	Update Op = C.SECEMU_UPDATE
	Delete Op = C.SECEMU_DELETE
	List   Op = C.SECEMU_LIST
	Status Op = C.SECEMU_STATUS
	Secret Op = Read | Add | Update | Delete // what uses a secret
)

// Answer is what somebody clicks in a dialog.
type Answer int

// The answers: this time, from now on, no.
const (
	Allow  Answer = C.SECEMU_ALLOW
	Always Answer = C.SECEMU_ALWAYS
	Refuse Answer = C.SECEMU_REFUSE
)

// Identity is what the keychain knows a program by.
type Identity struct{ Application, Partition string }

// Minibot is whose calls they are after Reset.
var Minibot = Identity{"minibot", "teamid:MINIBOT"}

// Reset empties the keychain, ends whatever waits, and takes back whatever was set.
func Reset() { C.secemu_reset() }

// Lock locks the keychain or unlocks it.
func Lock(locked bool) { C.secemu_lock(flag(locked)) }

// Desktop says whether dialogs can be shown. Without one they are errSecInteractionNotAllowed.
func Desktop(present bool) { C.secemu_desktop(flag(present)) }

// As says whose calls the next ones are.
func As(who Identity) {
	application, free := text(who.Application)
	defer free()
	partition, free := text(who.Partition)
	defer free()
	C.secemu_identity(application, partition)
}

// Clock fixes the time of what is written; the zero time gives the real clock back.
func Clock(at time.Time) {
	if at.IsZero() {
		C.secemu_clock(0)
		return
	}
	C.secemu_clock(C.double(at.Unix()))
}

// Put writes an item beneath the store, as whoever [As] named. An empty account is none.
func Put(service, account, data string) { put(service, account, data, false) }

// PutElsewhere makes an item in another keychain, which is searched after the default one.
func PutElsewhere(service, account, data string) { put(service, account, data, true) }

func put(service, account, data string, elsewhere bool) {
	s, free := text(service)
	defer free()
	a, free := text(account)
	defer free()
	d, free := text(data)
	defer free()
	C.secemu_put(s, a, unsafe.Pointer(d), C.size_t(len(data)), flag(elsewhere))
}

// Rule is something that befalls operations on an item. An empty Service or Account stands for every one.
type Rule struct {
	Service, Account string
	Ops              Op
	Once             bool // for one call only
}

// Fail makes the operations answer status, and returns what ends that.
func (r Rule) Fail(status int) (lift func()) { return r.set(C.SECEMU_FAIL, status) }

// Hang makes the operations wait until lift.
func (r Rule) Hang() (lift func()) { return r.set(C.SECEMU_HANG, 0) }

// Lock locks the keychain just before the operation.
func (r Rule) Lock() (lift func()) { return r.set(C.SECEMU_LOCK, 0) }

// Rival makes another program write the item (which must be named) just before the operation.
func (r Rule) Rival() (lift func()) { return r.set(C.SECEMU_RIVAL, 0) }

// Garble makes what the operations write arrive a byte short.
func (r Rule) Garble() (lift func()) { return r.set(C.SECEMU_GARBLE, 0) }

func (r Rule) set(action, status int) func() {
	service, free := text(r.Service)
	defer free()
	account, free := text(r.Account)
	defer free()
	id := C.secemu_rule(service, account, C.int(r.Ops), C.int(action), C.int32_t(status), flag(r.Once))
	return func() { C.secemu_lift(id) }
}

// Await blocks until so many calls wait, at a dialog or at [Rule.Hang], or until Reset.
func Await(calls int) { C.secemu_await(C.int(calls)) }

// Reply answers every dialog that is shown.
func Reply(answer Answer) { C.secemu_answer(C.int(answer)) }

// Dialogs counts the dialogs that were shown so far, over every Reset.
func Dialogs() int { return int(C.secemu_dialogs()) }

// Reads counts the values that were read so far, over every Reset.
func Reads() int { return int(C.secemu_reads()) }

// Writes counts the changes that calls made so far, over every Reset.
func Writes() int { return int(C.secemu_writes()) }

// Live counts the CoreFoundation objects that are not released.
func Live() int { return int(C.secemu_live()) }

func flag(on bool) C.int {
	if on {
		return 1
	}
	return 0
}

func text(s string) (*C.char, func()) {
	p := C.CString(s)
	return p, func() { C.free(unsafe.Pointer(p)) }
}
