package agefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"filippo.io/age"

	"minibot/hint"
	"minibot/secrets"
)

const (
	keyComment = "# the key of a minibot store; without it nobody can read the store"
	// rekeyComment marks a key file that Rekey has written and not finished with. One of its keys opens the store, unless a
	// passphrase does; the next writer takes the others away.
	rekeyComment = "# the store is being sealed anew: the old key comes first, the new one last"
)

// maxKeyFile is the largest key file in bytes.
const maxKeyFile = 64 << 10

// keys is what a key file holds: one key, or while the store is rekeyed the old one and the new one, or only one of them.
type keys struct {
	identities []*age.X25519Identity
	rekeying   bool
}

func (k keys) text() []byte {
	comment := keyComment
	if k.rekeying {
		comment += "\n" + rekeyComment
	}
	for _, identity := range k.identities {
		comment += "\n" + identity.String()
	}
	return []byte(comment + "\n")
}

func (k keys) has(identity *age.X25519Identity) bool {
	for _, one := range k.identities {
		if one.String() == identity.String() {
			return true
		}
	}
	return false
}

// readKeys reads a key file that nobody else can read. The error wraps fs.ErrNotExist when there is none, ErrDenied when
// it is not private or holds no key that this package can use. Of what it holds, no error says anything but the kind.
func readKeys(files fileSystem, path string) (keys, error) {
	if path == "" {
		return keys{}, hint.Wrap(fmt.Errorf("%w: no key file is named", secrets.ErrDenied), "name the key file of the store")
	}
	f, st, err := openRegular(files, path)
	if err != nil {
		return keys{}, err
	}
	defer func() { _ = f.Close() }() // read only
	if err := checkPrivate(path, st.mode, st.uid, os.Geteuid()); err != nil {
		return keys{}, err
	}
	if st.size > maxKeyFile {
		err := fmt.Errorf("%w: %s has %d bytes, which no key file has", secrets.ErrDenied, path, st.size)
		return keys{}, hint.Wrap(err, "put %s back from a backup; it was not changed", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	defer clear(text)
	if err != nil {
		return keys{}, explain(err, path)
	}
	found, err := parseKeys(string(text))
	if err == nil {
		return found, nil
	}
	advice := "put %s back from a backup; it was not changed"
	if errors.Is(err, errSeveral) {
		advice = "leave only the key that belongs to the store in %s"
	}
	return keys{}, hint.Wrap(fmt.Errorf("%w: %s does not hold one AGE-SECRET-KEY-1…: %w", secrets.ErrDenied, path, err), advice, path)
}

var errSeveral = errors.New("it holds several keys")

// foreign tells what lines that begin so are, when they are no key that this package can use.
var foreign = []struct{ prefix, kind string }{
	{"AGE-SECRET-KEY-1", "a key that is cut off or mistyped"},
	{"AGE-SECRET-KEY-PQ-1", "a post-quantum key, which this store does not use"},
	{"AGE-PLUGIN-", "a plugin's key, which this store does not use"},
	{"age1", "a public key, which opens nothing"},
	{"ssh-", "a public SSH key, which opens nothing"},
	{"age-encryption.org/", "an encrypted file"},
	{"-----BEGIN AGE ENCRYPTED FILE", "an encrypted file"},
	{"-----BEGIN ", "an SSH or PEM key, which this store does not use"},
}

// parseKeys reads the format of age-keygen: a key per line, empty lines, and comments that begin with #; LF or CRLF.
func parseKeys(text string) (keys, error) {
	var found keys
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == rekeyComment {
			found.rekeying = true
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		identity, err := age.ParseX25519Identity(line)
		if err != nil || !strings.HasPrefix(line, "AGE-SECRET-KEY-1") { // the error may quote the line
			for _, f := range foreign {
				if strings.HasPrefix(line, f.prefix) {
					return keys{}, fmt.Errorf("it holds %s", f.kind)
				}
			}
			return keys{}, errors.New("it holds something else")
		}
		found.identities = append(found.identities, identity)
	}
	switch n := len(found.identities); {
	case n == 0:
		return keys{}, errors.New("it holds no key")
	case n > 2 || n == 2 && !found.rekeying:
		return keys{}, errSeveral
	}
	return found, nil
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

// ensureKey returns what seals to the last key in the key file, after making one when there is no file. The caller holds the lock.
func ensureKey(files fileSystem, path string) (*sealer, error) {
	found, err := readKeys(files, path)
	if err == nil {
		// Who made it may have been killed before it was durable.
		return keySealer(found.identities[len(found.identities)-1]), confirm(files, path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := sweep(files, path); err != nil {
		return nil, err
	}
	made, err := newKeySealer()
	if err != nil {
		return nil, err
	}
	return made, publishKeys(files, path, keys{identities: []*age.X25519Identity{made.key}}, false)
}

func publishKeys(files fileSystem, path string, k keys, replace bool) error {
	text := k.text()
	defer clear(text)
	return publish(files, path, text, replace)
}
