package search

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkSearch tells the speed over what a machine holds, on one core.
func BenchmarkSearch(b *testing.B) {
	const size = 32 << 20
	random := make([]byte, size)
	if _, err := rand.Read(random); err != nil {
		b.Fatal(err)
	}
	logs, err := io.ReadAll(io.LimitReader(noise{}, size))
	if err != nil {
		b.Fatal(err)
	}
	for _, data := range []struct {
		name string
		text []byte
	}{
		{"log", logs}, {"random", random}, {"zero", make([]byte, size)},
		{"base64", []byte(base64.StdEncoding.EncodeToString(random[:size*3/4]))},
	} {
		for _, count := range []int{15, 300} {
			var texts []string
			for i := range count {
				texts = append(texts, fmt.Sprintf("%s-canary-%d", strings.Map(letter, rand.Text()), i))
			}
			s := newSearcher(b, texts...)
			b.Run(fmt.Sprintf("%s/%d values", data.name, count), func(b *testing.B) {
				b.SetBytes(size)
				begin := processor(b)
				for b.Loop() {
					if n, err := s.Search(b.Context(), bytes.NewReader(data.text), func(Hit) error { return nil }); err != nil || n != size {
						b.Fatal(n, err)
					}
				}
				b.ReportMetric(float64(b.N)*size/1e6/(processor(b)-begin).Seconds(), "MB/cpu-s")
			})
		}
	}
}

// letter spreads the alphabet of rand.Text over both cases.
func letter(r rune) rune {
	if r > 'M' {
		return r + 'a' - 'A'
	}
	return r
}

// processor is the processor time of this process, which a busy machine leaves alone.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
