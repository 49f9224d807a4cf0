package agefile_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"minibot/hint"
	"minibot/secrets"
	"minibot/secrets/agefile"
)

func TestPassphrase(t *testing.T) {
	o := withPassphraseAndKey(t.TempDir())
	mustOpen(t, o)
	for name, test := range map[string]struct {
		ask  func() (string, error)
		want error
	}{
		"nobody to ask": {nil, secrets.ErrLocked},
		"no answer":     {func() (string, error) { return "", errors.New("no terminal") }, secrets.ErrLocked},
		"empty":         {saying(""), secrets.ErrLocked},
		"wrong":         {saying("canary-wrong"), secrets.ErrDenied},
	} {
		o.Passphrase = test.ask
		_, err := agefile.Open(t.Context(), o)
		if !errors.Is(err, test.want) || hint.Of(err) == "" || strings.Contains(fmt.Sprint(err, hint.Of(err)), "canary") {
			t.Errorf("%s: got %v, want %v; hint %q", name, err, test.want, hint.Of(err))
		}
	}
}

// Every byte of a passphrase counts: spaces, letters beyond ASCII in the form in which they were typed, a line end.
func TestEveryByteOfAPassphraseCounts(t *testing.T) {
	const composed, decomposed = "canary p\u00e4ss \u20ac \U0001f600", "canary pa\u0308ss \u20ac \U0001f600"
	for _, passphrase := range []string{composed, decomposed, " canary ", "canary\n", "canary\x00", "\xff\xfe", strings.Repeat("canary", 1000)} {
		o := withPassphrase(t.TempDir())
		o.Passphrase = saying(passphrase)
		filled(t, o)
		mustHold(t, mustOpen(t, o))
		for _, other := range []string{strings.TrimSpace(passphrase), passphrase + " ", passphrase + "\n", strings.ToUpper(passphrase), composed, decomposed} {
			if other == passphrase {
				continue
			}
			o.Passphrase = saying(other)
			if _, err := agefile.Open(t.Context(), o); !errors.Is(err, secrets.ErrDenied) {
				t.Errorf("%q opens what %q has sealed: %v", other, passphrase, err)
			}
		}
	}
}

// Whoever is asked may take long: nobody waits for a lock meanwhile, and nobody is asked twice.
func TestPassphraseIsAskedForOnceAndWithoutALock(t *testing.T) {
	o := withPassphrase(t.TempDir())
	asked := 0
	o.Passphrase = func() (string, error) {
		if asked++; asked == 1 {
			first := o
			first.Passphrase = saying("canary")
			mustOpen(t, first) // another process makes the store while this one asks
		}
		return "canary", nil
	}
	s := mustOpen(t, o)
	if err := s.Put(t.Context(), "A", secrets.Current, canary(t)); err != nil || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	mustHold(t, s)
	o = inDir(t.TempDir())
	o.Passphrase = func() (string, error) { t.Error("asked for a store that has a key"); return "", nil }
	mustHold(t, filled(t, o))
}

func TestWorkFactor(t *testing.T) {
	for _, factor := range []int{-1, 21, 1 << 20} {
		o := withPassphrase(t.TempDir())
		o.WorkFactor = factor
		if _, err := agefile.Open(t.Context(), o); err == nil || hint.Of(err) == "" || tree(t, dirOf(o)) != "" {
			t.Errorf("%d: got %v, hint %q", factor, err, hint.Of(err))
		}
	}
	o := withPassphrase(t.TempDir())
	o.WorkFactor = 2
	s := filled(t, o)
	header := func(factor string) []byte { return fmt.Appendf(nil, " %s\n", factor) }
	good := read(t, o.Path)
	if !bytes.Contains(good[:80], header("2")) {
		t.Error("it is not sealed with the work factor that was asked for")
	}
	o.WorkFactor = 3
	mustHold(t, mustOpen(t, o)) // reads what another factor sealed, and writes its own
	if !bytes.Contains(read(t, o.Path)[:80], header("3")) {
		t.Error("a write keeps the old work factor")
	}
	mustHold(t, s)
	for factor, says := range map[string]string{"21": "at most 20", "63": "at most 20", "99999999999999999999": "", "0": "", "-1": "", "x": ""} {
		write(t, o.Path, bytes.Replace(good, header("2"), header(factor), 1))
		_, err := agefile.Open(t.Context(), o)
		if !errors.Is(err, secrets.ErrDamaged) || !strings.Contains(err.Error(), says) || hint.Of(err) == "" {
			t.Errorf("a file with work factor %s: %v, hint %q", factor, err, hint.Of(err))
		}
	}
}

// A torn store with a passphrase is damaged, whatever lies beside it: nobody is sent to look for a key.
func TestTornStoreWithAPassphrase(t *testing.T) {
	o := withPassphraseAndKey(t.TempDir())
	filled(t, o)
	good := read(t, o.Path)
	for _, n := range []int{0, 20, 60, 100, len(good) / 2, len(good) - 1} {
		write(t, o.Path, good[:n])
		if _, err := agefile.Open(t.Context(), o); !errors.Is(err, secrets.ErrDamaged) || hint.Of(err) == "" {
			t.Errorf("%d of %d bytes: %v, hint %q", n, len(good), err, hint.Of(err))
		}
	}
}
