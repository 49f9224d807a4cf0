//go:build !((darwin && !ios && cgo) || secemu)

package keychain

import (
	"fmt"

	"minibot/hint"
	"minibot/secrets"
)

// Available reports whether this build can use the keychain: on macOS, with cgo.
const Available = false

// errAbsent is what every call answers in a build that has no keychain.
var errAbsent = hint.Wrap(fmt.Errorf("%w: this build has no keychain: it needs macOS and cgo", secrets.ErrUnavailable),
	`on a Mac choose the store "security" in config.toml: it keeps the same items through /usr/bin/security`)

func lookUp(string, string) (entry, error)   { return entry{}, errAbsent }
func attributes(string) ([]entry, error)     { return nil, errAbsent }
func update(string, string, []byte) error    { return errAbsent }
func add(string, string, []byte) error       { return errAbsent }
func remove(string, string) error            { return errAbsent }
func unlocked() (isUnlocked bool, err error) { return false, errAbsent }
