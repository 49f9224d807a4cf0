package secretservice

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	keychain "github.com/keybase/go-keychain/secretservice"

	"github.com/keybase/dbus"
)

// The group of "dh-ietf1024-sha256-aes128-cbc-pkcs7": the Second Oakley Group of RFC 2409.
var (
	prime, _ = new(big.Int).SetString(""+
		"FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"+
		"EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"+
		"EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF", 16)
	generator = big.NewInt(2)
)

var (
	errBadPublic  = errors.New("the keyring offers no usable key for a session")
	errUnreadable = errors.New("the keyring sends a value that its session does not decrypt")
)

// opened returns the session, after opening one where there is none.
func (c *client) opened(ctx context.Context) (*keychain.Session, error) {
	if c.session != nil {
		return c.session, nil
	}
	private, err := rand.Int(rand.Reader, new(big.Int).Sub(prime, big.NewInt(2)))
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	private.Add(private, big.NewInt(1))
	public := new(big.Int).Exp(generator, private, prime)
	var output dbus.Variant
	var path objectPath
	args := []any{string(keychain.AuthenticationDHAES), dbus.MakeVariant(public.Bytes())}
	if err := c.call(ctx, keychain.SecretServiceObjectPath, serviceInterface+".OpenSession", args, &output, &path); err != nil {
		return nil, err
	}
	theirs, ok := output.Value().([]byte)
	if !ok {
		return nil, errBadPublic
	}
	key, err := agree(private, new(big.Int).SetBytes(theirs))
	if err != nil {
		return nil, err
	}
	c.session = &keychain.Session{Mode: keychain.AuthenticationDHAES, Path: path, AESKey: key}
	return c.session, nil
}

// agree derives the session's key from the secret that both sides share, at the full length of the prime.
func agree(private, theirs *big.Int) ([]byte, error) {
	if theirs.Cmp(big.NewInt(1)) <= 0 || theirs.Cmp(new(big.Int).Sub(prime, big.NewInt(1))) >= 0 {
		return nil, errBadPublic
	}
	shared := new(big.Int).Exp(theirs, private, prime).FillBytes(make([]byte, (prime.BitLen()+7)/8))
	defer clear(shared)
	return hkdf.Key(sha256.New, shared, nil, "", aes.BlockSize)
}

// unseal decrypts what the service has sealed. Its errors wrap errUnreadable.
func unseal(key, iv, sealed []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil || len(iv) != aes.BlockSize || len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return nil, errUnreadable
	}
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(sealed, sealed)
	padding := int(sealed[len(sealed)-1])
	if padding == 0 || padding > aes.BlockSize {
		clear(sealed)
		return nil, errUnreadable
	}
	plain := sealed[:len(sealed)-padding]
	for _, b := range sealed[len(plain):] {
		if int(b) != padding {
			clear(sealed)
			return nil, errUnreadable
		}
	}
	return plain, nil
}
