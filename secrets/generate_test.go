package secrets

import (
	"regexp"
	"testing"
)

func TestGenerate(t *testing.T) {
	seen := map[string]bool{}
	for _, length := range []int{16, 17, 32, 32, 32, 400, MaxValueSize} {
		v, err := Recipe{Length: length}.Generate()
		if err != nil {
			t.Fatal(err)
		}
		plain := string(v.Reveal())
		if len(plain) != length || !regexp.MustCompile(`^[A-Za-z0-9]+$`).MatchString(plain) || seen[plain] {
			t.Errorf("a bad value of %d characters, want %d", len(plain), length)
		}
		seen[plain] = true
	}
	for _, length := range []int{-1, 0, 15, MaxValueSize + 1} {
		if v, err := (Recipe{Length: length}).Generate(); err == nil || !v.IsZero() {
			t.Errorf("a length of %d is accepted", length)
		}
	}
}

func TestEveryCharacterIsEquallyLikely(t *testing.T) {
	count := map[byte]int{}
	for b := range 256 {
		if c, ok := character(byte(b)); ok {
			count[c]++
		}
	}
	for _, c := range []byte(alphabet) {
		if count[c] != 4 {
			t.Errorf("%c comes from %d bytes, want 4", c, count[c])
		}
	}
	if len(count) != 62 {
		t.Errorf("%d characters", len(count))
	}
}
