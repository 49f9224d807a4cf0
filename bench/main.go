// Command bench measures minibot against the tools it replaces, as ratios of two things in one run, and prints the
// table of docs/benchmarks.md. It wants an engine, the images and the built programs: run it with `make bench`.
//
// It owns nothing but its measurements; it removes the projects it makes, and ends only processes it started.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// measurement is one row group of the table.
type measurement struct {
	name string
	run  func(ctx context.Context, b *bench) ([]row, error)
}

// row is one figure: what was measured, the medians, and the mark it should meet.
type row struct{ what, got, mark string }

var measurements = []measurement{
	{"start", coldStart},
	{"shapes", shaped},
	{"heal", healing},
	{"healers", healers},
	{"killed", killed},
	{"order", ordering},
	{"reload", reloading},
	{"rotate", rotating},
	{"idle", idling},
	{"search", searching},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	b := &bench{}
	only := flags.String("only", "", "comma-separated: start, shapes, heal, healers, killed, order, reload, rotate, idle, search")
	flags.StringVar(&b.programs, "programs", "bin", "folder of minibotd and mb-secrets")
	flags.StringVar(&b.compose, "compose", "", "the docker compose program to compare with")
	flags.StringVar(&b.hammer, "hammer", "", "the client that is asked of while secrets change: bench/hammer, static")
	flags.IntVar(&b.rounds, "rounds", 0, "rounds of each measurement; 0 takes each one's own")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(os.Stdout, "| figure | measured | mark |\n|---|---|---|\n"); err != nil {
		return err
	}
	for _, m := range measurements {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), m.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s  measuring %s\n", time.Now().Format(time.TimeOnly), m.name)
		rows, err := m.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		for _, r := range rows {
			if _, err := fmt.Fprintf(os.Stdout, "| %s | %s | %s |\n", r.what, r.got, r.mark); err != nil {
				return err
			}
		}
	}
	return nil
}

func median[T int64 | float64 | time.Duration](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// spread is a median with its range.
func spread(values []time.Duration) string {
	sorted := slices.Sorted(slices.Values(values))
	unit := 100 * time.Microsecond
	if sorted[0] > time.Second {
		unit = 10 * time.Millisecond
	}
	return fmt.Sprintf("%v (%v–%v, n=%d)", median(sorted).Round(unit), sorted[0].Round(unit), sorted[len(sorted)-1].Round(unit), len(sorted))
}

// ratios is the median of the pairwise ratios with its range.
func ratios(a, b []time.Duration) string {
	var all []float64
	for i := range a {
		all = append(all, float64(a[i])/float64(b[i]))
	}
	sorted := slices.Sorted(slices.Values(all))
	return fmt.Sprintf("ratio %.2f (%.2f–%.2f)", median(sorted), sorted[0], sorted[len(sorted)-1])
}
