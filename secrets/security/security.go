// Package security keeps secrets in a macOS keychain through the program /usr/bin/security.
//
// It owns the generic passwords whose service is that of a slot ("minibot", "minibot.pending", "minibot.previous") and whose
// account is a secret's name, and the parts of long values, which lie under services of their own ("minibot.parts", ...). They
// are the items that "security add-generic-password -s minibot -a NAME -w VALUE" makes and "security
// find-generic-password -s minibot -a NAME -w" prints.
//
// Values of printable ASCII that fit into one line of the program are kept as they are. Others are kept as base64 behind the
// marker "minibot-base64:", and those that are too long for that as parts, which the item names: "minibot-parts:...". The
// parts are written first and under new names, so that a crash at any moment leaves the old value or the new one. What a crash
// leaves behind is removed by the next Put or Delete of that name.
//
// It guarantees that commands and values reach the program on standard input alone; that what was written was read back;
// that an item is replaced or removed only where its value may be read, so that an item which another program wrote never
// changes hands without a person's consent; that access to an item is never widened (no -A, no -T: the writer,
// /usr/bin/security, is trusted by default); and that a child that has not answered by the deadline is killed and waited for, so
// that none of its writes comes late. It parses no text that could be translated, and never passes on what the program printed.
package security

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"minibot/hint"
	"minibot/secrets"
)

// Defaults of Options.
const (
	DefaultProgram = "/usr/bin/security"
	DefaultService = "minibot"
	DefaultTimeout = 20 * time.Second
)

// program is DefaultProgram. Tests of the daemon link a stand-in in.
var program = DefaultProgram

// Options say which items a store keeps and where. The zero value is the store of an installation.
type Options struct {
	// Program is the absolute path of the program. "" is DefaultProgram.
	Program string
	// Service is what [secrets.Slot.Service] is given: letters, digits, ".", "_" and "-", at most 64. "" is DefaultService.
	Service string
	// Keychain is the absolute path of a keychain file. "" is the user's search list for reading and the default keychain for
	// new items, as for commands typed by hand.
	Keychain string
	// Timeout bounds a call whose context has no deadline. 0 is DefaultTimeout.
	Timeout time.Duration
}

// Store is a [secrets.Store], safe for concurrent use. It keeps nothing in memory and needs no closing.
type Store struct {
	program, service string
	keychain         []byte // quoted, with a space before it, or empty
	timeout          time.Duration
	env              []string
	writing          chan struct{} // holds one token: who has it may write
}

const maxKeychain = 500 // bytes: half a line at the most, were all of it escaped

var (
	servicePattern  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	keychainPattern = regexp.MustCompile(`^/[^\x00-\x1f]+$`)
)

// Open checks that there is a program and a keychain. It wraps [secrets.ErrUnavailable] where there is no program, as on
// other systems than macOS, and [secrets.ErrNoStore] where there is no keychain. It reads no item and opens no dialog.
func Open(ctx context.Context, options Options) (*Store, error) {
	s, err := open(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, options Options) (*Store, error) {
	s := &Store{program: cmp.Or(options.Program, program), service: options.Service, timeout: options.Timeout, env: environment(), writing: make(chan struct{}, 1)}
	if s.service == "" {
		s.service = DefaultService
	}
	if s.timeout == 0 {
		s.timeout = DefaultTimeout
	}
	switch {
	case !filepath.IsAbs(s.program):
		return nil, fmt.Errorf("program %q: want an absolute path", s.program)
	case !servicePattern.MatchString(s.service):
		return nil, fmt.Errorf("service %q: want letters, digits, '.', '_' and '-', at most 64", s.service)
	case s.timeout < 0:
		return nil, fmt.Errorf("timeout %v is negative", s.timeout)
	}
	if options.Keychain != "" {
		if len(options.Keychain) > maxKeychain || !keychainPattern.MatchString(options.Keychain) {
			return nil, fmt.Errorf("keychain %q: want an absolute path of at most %d bytes, without control characters", options.Keychain, maxKeychain)
		}
		if _, err := os.Stat(options.Keychain); err != nil {
			return nil, noKeychain(options.Keychain, err)
		}
		s.keychain = appendQuoted([]byte{' '}, []byte(options.Keychain))
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s, s.seeKeychains(ctx)
}

// noKeychain says that a keychain file cannot be used: the program would search the default keychains in its place.
func noKeychain(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return hint.Wrap(fmt.Errorf("%w: %s does not exist", secrets.ErrNoStore, path), "security create-keychain %s", path)
	}
	return hint.Wrap(fmt.Errorf("%w: %w", secrets.ErrDenied, err), "make %s readable", path)
}

// seeKeychains fails when the search list is empty: every secret would seem to be missing.
func (s *Store) seeKeychains(ctx context.Context) error {
	a, err := s.run(ctx, []byte(commandList+"\n"))
	if err != nil {
		return err
	}
	defer a.clear()
	switch {
	case a.exit != 0:
		return fault(a.status(commandList))
	case len(a.stdout) == 0:
		return hint.Wrap(fmt.Errorf("%w: this session has no keychain", secrets.ErrNoStore),
			"run it in the Mac's desktop session; security list-keychains shows the keychains of a session")
	}
	return nil
}

// bounded gives ctx the store's deadline unless it has one.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.timeout)
}

// acquire waits for the right to write.
func (s *Store) acquire(ctx context.Context) error {
	select {
	case s.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return late(ctx)
	}
}

func (s *Store) release() { <-s.writing }
