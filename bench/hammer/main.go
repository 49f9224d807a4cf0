// Command hammer is a client that never keeps a connection: for each request it reads its secret from the delivered
// file, logs in, asks for something and leaves. It runs inside a container of the stack while a secret is changed there,
// and prints every half second, as a line of JSON, how many requests each server has answered and how many it failed.
//
// It owns nothing and never prints a value.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	requestTimeout = 30 * time.Second // a login may take seconds on a machine that has much else to do
	reportInterval = 500 * time.Millisecond
	requestPause   = 5 * time.Millisecond // after each: the clients of a fast server, or of one that is gone, would only keep the others from the processor
)

// tally is what became of the requests to one server. Times are in milliseconds.
type tally struct {
	Requests int     `json:"requests"`
	Failures int     `json:"failures"`
	Window   float64 `json:"window_ms"`  // from the beginning of the first failed request to the end of the last one
	Slowest  float64 `json:"slowest_ms"` // the longest request that did not fail
	Reason   string  `json:"reason,omitempty"`

	first time.Time
}

// counts are the tallies by server.
type counts struct {
	mu  sync.Mutex
	all map[string]*tally
}

func (c *counts) add(server string, began time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.all[server]
	t.Requests++
	if err == nil {
		t.Slowest = max(t.Slowest, since(began))
		return
	}
	t.Failures++
	t.Reason = err.Error()
	if t.first.IsZero() {
		t.first = began
	}
	t.Window = since(t.first)
}

// since is in milliseconds.
func since(t time.Time) float64 { return float64(time.Since(t).Microseconds()) / 1000 }

func (c *counts) print() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return json.NewEncoder(os.Stdout).Encode(c.all)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1) //nolint:gocritic,forbidigo // nothing is left to stop
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("hammer", flag.ContinueOnError)
	redis := flags.String("redis", "", "host:port of Redis")
	redisFile := flags.String("redis-file", "/run/secrets/REDIS_PASSWORD", "file of its password")
	postgres := flags.String("postgres", "", "connection string of Postgres without a password")
	postgresFile := flags.String("postgres-file", "/run/secrets/POSTGRES_PASSWORD", "file of its password")
	pair := flags.String("pgservice", "", "a delivered .pgservice file: user and password in one read")
	workers := flags.Int("workers", 2, "requests at a time, for each server")
	if err := flags.Parse(args); err != nil {
		return err
	}
	asks := map[string]func(context.Context) error{}
	if *redis != "" {
		asks["redis"] = func(ctx context.Context) error { return askRedis(ctx, *redis, *redisFile) }
	}
	if *postgres != "" {
		asks["postgres"] = func(ctx context.Context) error { return askPostgres(ctx, *postgres, *postgresFile) }
	}
	if *pair != "" {
		asks["pair"] = func(ctx context.Context) error { return askPair(ctx, *pair) }
	}
	c := &counts{all: map[string]*tally{}}
	var group sync.WaitGroup
	for server, ask := range asks {
		c.all[server] = &tally{}
		for range *workers {
			group.Go(func() { hammer(ctx, c, server, ask) })
		}
	}
	tick := time.NewTicker(reportInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if err := c.print(); err != nil {
			return err
		}
	}
	group.Wait()
	return c.print()
}

// hammer asks until ctx ends.
func hammer(ctx context.Context, c *counts, server string, ask func(context.Context) error) {
	for ctx.Err() == nil {
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, requestTimeout)
		err := ask(bounded)
		cancel()
		if ctx.Err() != nil {
			return
		}
		c.add(server, began, err)
		select {
		case <-time.After(requestPause):
		case <-ctx.Done():
		}
	}
}

// password is what a delivered file holds.
func password(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the secret: %w", err)
	}
	return string(data), nil
}

func askRedis(ctx context.Context, address, file string) error {
	secret, err := password(file)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the answers are read
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(conn, "*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n*1\r\n$4\r\nPING\r\n", len(secret), secret); err != nil {
		return err
	}
	replies := bufio.NewReader(conn)
	for _, want := range []string{"+OK", "+PONG"} {
		reply, err := replies.ReadString('\n')
		if err != nil {
			return err
		}
		if reply = strings.TrimSpace(reply); reply != want {
			return fmt.Errorf("redis: %s", reply)
		}
	}
	return nil
}

func askPostgres(ctx context.Context, conninfo, file string) error {
	config, err := pgx.ParseConfig(conninfo)
	if err != nil {
		return err
	}
	if config.Password, err = password(file); err != nil {
		return err
	}
	return query(ctx, config)
}

// askPair reads user and password at once.
func askPair(ctx context.Context, file string) error {
	config, err := pgx.ParseConfig("servicefile=" + file + " service=minibot sslmode=disable")
	if err != nil {
		return fmt.Errorf("read the secret: %w", err)
	}
	return query(ctx, config)
}

func query(ctx context.Context, config *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	var one int
	err = conn.QueryRow(ctx, "SELECT 1").Scan(&one)
	if closed := conn.Close(ctx); err == nil {
		err = closed
	}
	return err
}
