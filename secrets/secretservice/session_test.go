package secretservice

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"math/big"
	"testing"

	keychain "github.com/keybase/go-keychain/secretservice"
)

// A shared secret that begins with zero bytes comes once in 256 sessions. Whoever cuts them off gets another key.
func TestAgreeKeepsLeadingZeros(t *testing.T) {
	theirs := new(big.Int).Exp(generator, big.NewInt(0xC0FFEE), prime)
	for private := big.NewInt(2); ; private.Add(private, big.NewInt(1)) {
		shared := new(big.Int).Exp(theirs, private, prime)
		if shared.BitLen() > prime.BitLen()-8 {
			continue
		}
		want, err := hkdf.Key(sha256.New, append(make([]byte, 128-len(shared.Bytes())), shared.Bytes()...), nil, "", 16)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := agree(private, theirs); err != nil || !bytes.Equal(got, want) {
			t.Errorf("another key than that of the whole secret: %v", err)
		}
		return
	}
}

func TestAgreeRefusesKeysThatGiveNothingAway(t *testing.T) {
	for _, theirs := range []*big.Int{big.NewInt(0), big.NewInt(1), new(big.Int).Sub(prime, big.NewInt(1)), prime} {
		if _, err := agree(big.NewInt(7), theirs); !errors.Is(err, errBadPublic) {
			t.Errorf("%v: got %v", theirs, err)
		}
	}
}

func TestUnseal(t *testing.T) {
	key := []byte("YELLOW SUBMARINE")
	session := &keychain.Session{Mode: keychain.AuthenticationDHAES, AESKey: key}
	for _, plain := range []string{"", "x", "fifteen bytes..", "sixteen bytes...", "canary\x00\xff"} {
		sealed, err := session.NewSecret([]byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		got, err := unseal(key, sealed.Parameters, bytes.Clone(sealed.Value))
		if err != nil || string(got) != plain {
			t.Errorf("%q came back as %q, %v", plain, got, err)
		}
		other := []byte("another key here")
		if got, err := unseal(other, sealed.Parameters, bytes.Clone(sealed.Value)); err == nil && string(got) == plain {
			t.Errorf("%q is read with another key", plain)
		}
	}
	iv, torn := make([]byte, 16), []byte("its padding is 2\x02")[1:]
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(torn, torn)
	for _, broken := range []struct{ iv, sealed []byte }{{iv, torn}, {iv, nil}, {iv, make([]byte, 15)}, {nil, make([]byte, 16)}, {iv, make([]byte, 16)}} {
		if _, err := unseal(key, broken.iv, broken.sealed); !errors.Is(err, errUnreadable) {
			t.Errorf("%d and %d bytes: got %v, want errUnreadable", len(broken.iv), len(broken.sealed), err)
		}
	}
}

func TestSocketPath(t *testing.T) {
	for address, want := range map[string]string{
		"unix:path=/run/user/501/bus":                "/run/user/501/bus",
		"unix:path=/tmp/a%20b,guid=0123":             "/tmp/a b",
		"unix:guid=0123,path=/tmp/bus":               "/tmp/bus",
		"unix:abstract=/tmp/dbus-x,guid=0123":        "@/tmp/dbus-x",
		"tcp:host=localhost,port=1;unix:path=/tmp/b": "/tmp/b",
		"":                               "",
		"autolaunch:":                    "",
		"autolaunch:scope=*user":         "",
		"unixexec:path=/bin/sh,argv1=-c": "",
		"tcp:host=localhost,port=1":      "",
		"unix:runtime=yes":               "",
		"unix:path=":                     "",
		"nonsense":                       "",
	} {
		got, err := socketPath(address)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", address, got, err, want)
		}
	}
}
