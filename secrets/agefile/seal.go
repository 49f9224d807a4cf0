package agefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"
	"strings"

	"filippo.io/age"

	"minibot/hint"
	"minibot/secrets"
)

// maxWorkFactor bounds what opening a file may cost: 2^20 is 1 GiB of memory and some seconds.
const maxWorkFactor = 20

// sealer encrypts and decrypts the whole file.
type sealer struct {
	key       *age.X25519Identity // nil for a passphrase
	identity  age.Identity
	recipient age.Recipient
	cheap     bool          // a passphrase whose scrypt takes no memory to speak of
	working   chan struct{} // holds one token: computations that nobody waits for any more do not pile up
}

func keySealer(key *age.X25519Identity) *sealer {
	return &sealer{key: key, identity: key, recipient: key.Recipient()}
}

func newKeySealer() (*sealer, error) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return keySealer(key), nil
}

// passphraseSealer asks for the passphrase of path. Every byte of the answer counts: nothing is trimmed or normalized.
func passphraseSealer(path string, ask func() (string, error), workFactor int) (*sealer, error) {
	locked := func(why error) error {
		return hint.Wrap(fmt.Errorf("%w: %s needs its passphrase: %w", secrets.ErrLocked, path, why), "run this on a terminal and type the passphrase")
	}
	if ask == nil {
		return nil, locked(errors.New("nobody to ask"))
	}
	passphrase, err := ask()
	if err != nil {
		return nil, locked(err)
	}
	if passphrase == "" {
		return nil, locked(errors.New("it was empty"))
	}
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, locked(err)
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, locked(err)
	}
	if workFactor != 0 {
		recipient.SetWorkFactor(workFactor)
	}
	cheap := workFactor != 0 && workFactor <= 14 // 16 MiB
	return &sealer{identity: identity, recipient: recipient, cheap: cheap, working: make(chan struct{}, 1)}, nil
}

// sealedWithPassphrase tells whether a passphrase or a key opens an age file. The error wraps ErrDamaged when nothing does.
func sealedWithPassphrase(sealed []byte) (bool, error) {
	header, err := age.ExtractHeader(bytes.NewReader(sealed))
	if err != nil {
		return false, fmt.Errorf("%w: it is empty, torn or no age file", secrets.ErrDamaged)
	}
	_, stanza, found := strings.Cut(string(header), "\n-> scrypt ")
	if !found {
		return false, nil
	}
	line, _, _ := strings.Cut(stanza, "\n")
	if args := strings.Fields(line); len(args) == 2 {
		if logN, err := strconv.Atoi(args[1]); err == nil && logN > maxWorkFactor {
			return false, fmt.Errorf("%w: opening it has the work factor %d, at most %d", secrets.ErrDamaged, logN, maxWorkFactor)
		}
	}
	return true, nil
}

func (s *sealer) seal(ctx context.Context, plain []byte) ([]byte, error) {
	plain = bytes.Clone(plain) // the computation may outlive the call
	return s.compute(ctx, func() ([]byte, error) {
		defer clear(plain)
		var sealed bytes.Buffer
		w, err := age.Encrypt(&sealed, s.recipient)
		if err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		if _, err := w.Write(plain); err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		if sealed.Len() > maxFile {
			return nil, fmt.Errorf("%w: the store would have %d bytes, at most %d", secrets.ErrTooLarge, sealed.Len(), maxFile)
		}
		return sealed.Bytes(), nil
	})
}

// sealContent returns the file that holds c.
func sealContent(ctx context.Context, opener *sealer, c content) ([]byte, error) {
	plain, err := encode(c)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return opener.seal(ctx, plain)
}

// openContent returns what sealContent has sealed.
func (s *sealer) openContent(ctx context.Context, sealed []byte) (content, error) {
	plain, err := s.open(ctx, sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return decode(plain)
}

// open returns an error that wraps ErrDenied for the wrong key, ErrDamaged for anything else that is wrong with sealed.
func (s *sealer) open(ctx context.Context, sealed []byte) ([]byte, error) {
	return s.compute(ctx, func() ([]byte, error) {
		r, err := age.Decrypt(bytes.NewReader(sealed), s.identity)
		if wrongKey := (*age.NoIdentityMatchError)(nil); errors.As(err, &wrongKey) {
			return nil, secrets.ErrDenied
		}
		if err != nil {
			return nil, fmt.Errorf("%w: it is empty, torn or no age file", secrets.ErrDamaged)
		}
		plain := make([]byte, 0, len(sealed)) // more than it holds: no copies are left behind by growing
		for {
			n, err := r.Read(plain[len(plain):cap(plain)])
			plain = plain[:len(plain)+n]
			if errors.Is(err, io.EOF) {
				return plain, nil
			}
			if err != nil || len(plain) == cap(plain) {
				return nil, fmt.Errorf("%w: it is torn or was changed", secrets.ErrDamaged)
			}
		}
	})
}

// compute runs work, at once for a key; for a passphrase, which takes a second, it returns early when ctx ends.
func (s *sealer) compute(ctx context.Context, work func() ([]byte, error)) ([]byte, error) {
	if s.key != nil {
		return work()
	}
	select {
	case s.working <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	type result struct {
		out []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, err := work()
		if !s.cheap {
			debug.FreeOSMemory() // scrypt's memory is more than the whole program otherwise has
		}
		<-s.working
		done <- result{out, err}
	}()
	select {
	case r := <-done:
		return r.out, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
