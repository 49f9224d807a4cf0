package agefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"filippo.io/age"

	"minibot/hint"
	"minibot/secrets"
)

// readKey reads the identity in a key file that nobody else can read. The error wraps fs.ErrNotExist when there is none.
func readKey(path string) (*age.X25519Identity, error) {
	f, st, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()                                                  // read only
	if err := checkPrivate(path, uint32(st.Mode), st.Uid, os.Geteuid()); err != nil { //nolint:unconvert // Mode has 16 bits on darwin
		return nil, err
	}
	const most = 64 << 10
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	defer clear(text)
	// The error of a parser may quote what it read.
	identities, err := age.ParseIdentities(bytes.NewReader(text))
	if err == nil && len(identities) == 1 {
		if identity, ok := identities[0].(*age.X25519Identity); ok {
			return identity, nil
		}
	}
	err = fmt.Errorf("%w: %s does not hold one AGE-SECRET-KEY-1…", secrets.ErrDenied, path)
	return nil, hint.Wrap(err, "put %s back from a backup; it was not changed", path)
}

// checkPrivate refuses a key that others own or can read.
func checkPrivate(path string, mode, owner uint32, self int) error {
	if int64(owner) != int64(self) {
		err := fmt.Errorf("%w: the key %s belongs to uid %d, not to %d", secrets.ErrDenied, path, owner, self)
		return hint.Wrap(err, "chown %d %s && chmod 600 %s", self, path, path)
	}
	if mode&0o177 != 0 {
		err := fmt.Errorf("%w: the key %s has mode %04o: others may read it", secrets.ErrDenied, path, mode&0o7777)
		return hint.Wrap(err, "chmod 600 %s", path)
	}
	return nil
}

// ensureKey returns the identity in path, after making one when there is no file. The caller holds the lock.
func ensureKey(path string) (*age.X25519Identity, error) {
	identity, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return identity, err
	}
	if err := sweep(path); err != nil {
		return nil, err
	}
	if identity, err = age.GenerateX25519Identity(); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	text := []byte("# the key of a minibot store; without it nobody can read the store\n" + identity.String() + "\n")
	defer clear(text)
	if err := publish(path, text, false); err != nil {
		return nil, err
	}
	return identity, nil
}
