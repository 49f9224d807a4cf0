package database_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"minibot/database/enginetest"
)

// client is one that reads its password file and opens a connection for each request.
type client struct {
	address, file string
	done          []atomic.Int64 // requests, by client
}

func (c client) requests() int64 {
	n := int64(0)
	for i := range c.done {
		n += c.done[i].Load()
	}
	return n
}

func (c client) request() error {
	password, err := os.ReadFile(c.file)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", c.address, 10*time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // all that matters has been read
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n", len(password), password); err != nil {
		return err
	}
	for in, want := bufio.NewReader(conn), []string{"+OK", ":"}; len(want) > 0; want = want[1:] {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, want[0]) {
			return errors.New(strings.TrimSpace(line))
		}
	}
	return nil
}

// hammer lets clients ask until the returned func is called, which gives the first failures and their number.
func hammer(c client) func() ([]error, int64) {
	var wg sync.WaitGroup
	var failed atomic.Int64
	stop, failures := make(chan struct{}), make(chan error, 5)
	for i := range c.done {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := c.request()
				if err == nil {
					c.done[i].Add(1)
					continue
				}
				failed.Add(1)
				select {
				case failures <- err:
				default:
				}
			}
		})
	}
	return sync.OnceValues(func() ([]error, int64) {
		close(stop)
		wg.Wait()
		close(failures)
		var some []error
		for err := range failures {
			some = append(some, err)
		}
		return some, failed.Load()
	})
}

// No request fails while a password is changed under load.
func TestRedisNoFailedRequest(t *testing.T) {
	const clients, requests = 4, 3000
	r := startComposeRedis(t, redisFirst, "-p", "127.0.0.1::6379")
	file := filepath.Join(t.TempDir(), "REDIS_PASSWORD")
	write := func(password string) {
		must(t, "write the file", os.WriteFile(file+".new", []byte(password), 0o600))
		must(t, "replace the file", os.Rename(file+".new", file))
	}
	write(redisFirst)
	address, _, _ := strings.Cut(enginetest.Docker(t, "port", r.Service, "6379/tcp"), "\n")
	c := client{address: address, file: file, done: make([]atomic.Int64, clients)}
	begun, finish := time.Now(), hammer(c)
	t.Cleanup(func() { finish() })
	// more waits for n requests, and for each client to have read the file and asked since.
	more := func(n int64) {
		from, before := c.requests(), make([]int64, clients)
		for i := range before {
			before[i] = c.done[i].Load()
		}
		until(t, "let the clients ask", func() error {
			for i := range before {
				if c.done[i].Load() < before[i]+2 {
					return fmt.Errorf("client %d does not get on", i)
				}
			}
			if done := c.requests() - from; done < n {
				return fmt.Errorf("%d requests of %d", done, n)
			}
			return nil
		})
	}
	ctx, ch := t.Context(), change(t, redisFirst, redisNext)
	more(requests / 6)
	must(t, "accept", r.Accept(ctx, ch))
	must(t, "prove", r.Prove(ctx, ch.Next))
	more(requests / 6)
	write(redisNext)
	more(requests / 6)
	must(t, "retire", r.Retire(ctx, ch))
	more(max(requests/6, requests-c.requests()))
	failures, n := finish()
	if n != 0 {
		t.Errorf("%d of %d requests failed, as: %v", n, c.requests()+n, failures)
	}
	if got := validIn(t, r, map[string]string{"first": redisFirst, "next": redisNext}); got != "next" {
		t.Errorf("%q is valid afterwards", got)
	}
	t.Logf("0 of %d requests failed in %v", c.requests(), time.Since(begun).Round(time.Millisecond))
}
