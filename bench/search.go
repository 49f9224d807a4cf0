package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"syscall"
	"time"

	"minibot/audit/search"
	"minibot/secrets"
)

// searching looks for the values of an audit in 8 MiB of a log, by the audit's search and by what anybody would write first: a loop of
// bytes.Contains over the same forms and the same blocks of text. Both take one
// goroutine; what is measured is the processor time of this process, which a busy machine leaves alone.
func searching(ctx context.Context, b *bench) ([]row, error) {
	const size, block = 8 << 20, 64 << 10
	var text []byte
	for at := 0; len(text) < size; at++ {
		text = fmt.Appendf(text, "2026-11-24T10:%02d:%02d.%06dZ level=info msg=\"served\" path=/v1/things/%d status=200 id=%s\n",
			at/60%60, at%60, at%1e6, at%7919, rand.Text()[:8])
	}
	text = text[:size]
	var rows []row
	for _, count := range [...]int{15, 300} {
		var values []secrets.Value
		var forms [][]byte
		for range count {
			value, err := secrets.NewValue([]byte("made-up-" + rand.Text()))
			if err != nil {
				return nil, err
			}
			values = append(values, value)
			for _, form := range secrets.Forms(value) {
				forms = append(forms, form.Text.Reveal())
			}
		}
		searcher, err := search.New(values...)
		if err != nil {
			return nil, err
		}
		var ours, theirs []time.Duration
		for range b.times(5) {
			begin := cpuTime()
			if _, err := searcher.Search(ctx, bytes.NewReader(text), func(search.Hit) error { return nil }); err != nil {
				return nil, err
			}
			ours = append(ours, cpuTime()-begin)
			begin = cpuTime()
			for at := 0; at < size; at += block {
				for _, form := range forms {
					if bytes.Contains(text[at:at+block], form) {
						return nil, fmt.Errorf("a made-up value is in the text")
					}
				}
			}
			theirs = append(theirs, cpuTime()-begin)
		}
		speed := float64(size) / 1e6 / median(ours).Seconds()
		what := fmt.Sprintf("search of an audit on one core, %d values in %d forms", count, len(forms))
		rows = append(rows,
			row{what, fmt.Sprintf("%.0f MB/s", speed), "≥ 100 MB/s"},
			row{what + " : a loop of `bytes.Contains`", ratios(ours, theirs), ""})
	}
	return rows, nil
}

// cpuTime is the processor time of this process, in the program and in the kernel.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0 // it cannot fail for oneself; a zero time would show as a speed without end
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
