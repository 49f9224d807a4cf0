// Package lockstate asks macOS whether the default keychain is unlocked, which go-keychain cannot.
//
// It never unlocks a keychain, never shows a dialog (SecKeychainGetStatus asks securityd for a flag: KeychainImpl::status
// in Apple's sources) and reads no item. On other systems, and without cgo, it is empty.
package lockstate
