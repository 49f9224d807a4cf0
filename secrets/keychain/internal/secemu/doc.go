// Package secemu emulates the part of macOS that a keychain store calls: CoreFoundation's reference counts, the SecItem
// calls of Security.framework on a file-based keychain, and the lock state of the default keychain.
//
// It lets go-keychain's own darwin source run on Linux, and with it the store, against locks, dialogs, items of other programs
// and faults that a test sets. What was not released is counted, and a use of what was released ends the process.
// It is written after Apple's published sources and was never compared with a Mac call by call. It is compiled only with
// the build tag secemu and holds no real secret.
package secemu
