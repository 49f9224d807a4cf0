package search

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func zipped(t testing.TB, r io.Reader) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const hidden = "history: export KEY=canary-0123456789\n"

func TestCompressedContentIsSearched(t *testing.T) {
	s := newSearcher(t, "canary-0123456789")
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bzipped, err := base64.StdEncoding.DecodeString( // bzip2 of hidden; the standard library only reads it
		"QlpoOTFBWSZTWTD4iaEAAAvfgAAQQAJ/8gIIACAqYdxgIAAjGAmE00emgm1PUMYAAAACRTNruHwjLmfUADsByKxxfVzJaC+M07fi7kinChIGHxE0IA==")
	if err != nil {
		t.Fatal(err)
	}
	double := zipped(t, strings.NewReader("first member\n"))
	double = append(double, zipped(t, strings.NewReader(hidden))...)
	for name, content := range map[string][]byte{
		"gzip":             zipped(t, strings.NewReader(hidden)),
		"gzip, in pieces":  double,
		"gzip, over 1 MiB": zipped(t, io.MultiReader(io.LimitReader(noise{}, 1<<20), strings.NewReader(hidden))),
		"zstd":             encoder.EncodeAll([]byte(line[:5000]+hidden), nil),
		"bzip2":            bzipped,
	} {
		if bytes.Contains(content, []byte("canary-0123456789")) {
			t.Fatalf("%s: not compressed", name)
		}
		if got := hits(t, s, bytes.NewReader(content)); len(got) != 1 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWhatOnlyBeginsLikeCompressedContentIsSearchedAsItIs(t *testing.T) {
	s := newSearcher(t, "canary-0123456789")
	for _, magic := range []string{"\x1f\x8b", "\x1f\x8b\x08", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "BZh91AY&SY", "\x28\xb5\x2f\xfd", "PK\x03\x04", "\xfd7zXZ\x00"} {
		found := 0
		_, err := s.Search(t.Context(), strings.NewReader(magic+hidden), func(Hit) error { found++; return nil })
		if err != nil && !errors.Is(err, ErrNotWhole) {
			t.Errorf("%q: %v", magic, err)
		}
		if found != 1 {
			t.Errorf("%q: %d hits", magic, found)
		}
	}
}

func TestWhatCannotBeLookedIntoIsSaid(t *testing.T) {
	s := newSearcher(t, "canary-0123456789")
	whole := zipped(t, strings.NewReader(strings.Repeat(hidden, 1000)))
	for name, content := range map[string][]byte{
		"cut off": whole[:len(whole)-10],
		"xz":      []byte("\xfd7zXZ\x00 and so on"),
		"zip":     []byte("PK\x03\x04 and so on"),
	} {
		n, err := s.Search(t.Context(), bytes.NewReader(content), func(Hit) error { return nil })
		if !errors.Is(err, ErrNotWhole) || n < int64(len(content)) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

func TestABombIsNotUnpackedWithoutEnd(t *testing.T) {
	s := newSearcher(t, "canary-0123456789")
	s.inner = 8 << 20
	bomb := zipped(t, io.LimitReader(noise{}, 64<<20))
	n, err := s.Search(t.Context(), bytes.NewReader(bomb), func(Hit) error { return nil })
	if !errors.Is(err, ErrNotWhole) || n > 9<<20 {
		t.Errorf("%d bytes searched of a bomb of %d, %v", n, len(bomb), err)
	}
}

func TestAnEndedContextEndsTheSearchOfABomb(t *testing.T) {
	s := newSearcher(t, "canary-0123456789")
	ctx, cancel := context.WithCancel(t.Context())
	content := zipped(t, io.MultiReader(strings.NewReader(hidden), io.LimitReader(noise{}, 16<<20)))
	n, err := s.Search(ctx, bytes.NewReader(content), func(Hit) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) || n > 4<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
}
