// Package keychain keeps secrets in the login keychain of macOS, through github.com/keybase/go-keychain.
//
// It owns the generic passwords of three services: Options.Service for the current values, and the same with ".pending" and
// ".previous" (see [secrets.Slot.Service]); the account of an item is the secret's name, its data the value as it is. So
// `security find-generic-password -s minibot -a NAME -w` finds what this store wrote. Items of these services
// whose account is no secret name are somebody else's: they are not listed and never touched.
//
// It guarantees that a secret is replaced in one step, never deleted and added; that what was written is read back and compared; that a
// call returns by its deadline, whatever dialog waits on the screen; that calls which use values happen one at a time in this
// process, so that a write which nobody waits for any more never overtakes a later one; and that "not found", "empty",
// "locked" and "denied" are told apart. While the keychain is locked it asks nobody for a password: every call that needs a value
// answers [secrets.ErrLocked] at once. It never chooses another keychain than the user's default one for a new item, never
// changes an access list and never logs.
//
// The keychain gives a value without a dialog only to the program that wrote it, or that was allowed to "always" read it, and only while
// that program's signing identity stays the same: an ad-hoc build is a new program after each rebuild. Such a build, and one without
// cgo, uses the store that runs /usr/bin/security instead. The two must never write the same items: a write makes
// them the writer's.
package keychain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	defaultService = "minibot"
	defaultTimeout = 20 * time.Second
)

// Options say where the items are and how long a call may take. The zero Options are those of an installation.
type Options struct {
	// Service is the service of the items in the current slot. "" is "minibot". Another one is for a move between
	// stores, and for tests.
	Service string
	// Timeout ends a call whose context has no deadline. 0 is 20 s: time enough to click in a dialog.
	Timeout time.Duration
}

// Store is the keychain as a [secrets.Store]. It is safe for concurrent use and needs no closing; Open makes it.
type Store struct {
	service string
	timeout time.Duration
}

// Open returns a store on the user's keychain. The keychain may be locked. It wraps [secrets.ErrUnavailable], with a
// hint, where there is no default keychain, and always in a build without [Available]. It shows no dialog.
func Open(ctx context.Context, options Options) (*Store, error) {
	s := &Store{service: options.Service, timeout: options.Timeout}
	if s.service == "" {
		s.service = defaultService
	}
	if s.timeout == 0 {
		s.timeout = defaultTimeout
	}
	if err := s.check(ctx); err != nil {
		return nil, fmt.Errorf("open keychain: %w", err)
	}
	return s, nil
}

func (s *Store) check(ctx context.Context) error {
	if strings.ContainsRune(s.service, 0) || !utf8.ValidString(s.service) {
		return errors.New("the service name is not plain text")
	}
	if s.timeout < 0 {
		return fmt.Errorf("a timeout of %v: want more than 0", s.timeout)
	}
	_, err := do(ctx, s, attributeLane, func(context.Context) (bool, error) { return s.present() })
	return err
}
