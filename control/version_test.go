package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"minibot/hint"
	"minibot/secrets"
)

// answering is a client of a daemon that answers every request with text and then hangs up.
func answering(t *testing.T, text string) *Client {
	return &Client{dial: func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			b := bufio.NewReader(far)
			if r, err := http.ReadRequest(b); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			_, _ = io.WriteString(far, text) // the client may hang up before its end
			_ = far.Close()
		}()
		t.Cleanup(func() { _ = near.Close() })
		return near, nil
	}}
}

// wireAnswer is the head of a good answer.
var wireAnswer = "HTTP/1.1 200 OK\r\nMinibot-Version: minibotd x\r\n" + wireHead

func TestVersionSkewNewerClient(t *testing.T) {
	f := newFake(t)
	f.values["A"] = "canary"
	c, _ := serve(t, &Server{Backend: f})
	c.wire = Wire + 1
	_, err := c.Reveal(t.Context(), "A")
	if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), fmt.Sprintf("speaks wire version %d", Wire+1)) || !strings.Contains(hint.Of(err), "restart") || ExitCode(err) != 1 {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	if err := c.Operate(t.Context(), Operation{Verb: VerbReload}, nil); !errors.Is(err, ErrVersion) {
		t.Errorf("an operation: %v", err)
	}
}

func TestVersionSkewNewerDaemon(t *testing.T) {
	c := answering(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nMinibot-Version: minibotd 9\r\nMinibot-Wire: %d\r\nContent-Length: 6\r\n\r\ncanary", Wire+1))
	_, err := c.Reveal(t.Context(), "A")
	if want := fmt.Sprintf("minibotd 9 speaks %d", Wire+1); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), want) || hint.Of(err) == "" {
		t.Errorf("%v, want %s", err, want)
	}
}

// The daemon answers a client with nonsense in its headers with one clear, short line.
func TestVersionSkewGarbageFromTheClient(t *testing.T) {
	f := newFake(t)
	f.values["A"] = "canary"
	c, _ := serve(t, &Server{Backend: f})
	for name, head := range map[string]string{
		"none":            "",
		"empty":           "Minibot-Wire:\r\n",
		"words":           "Minibot-Wire: two\r\nMinibot-Version: \xff\xfe\xe2\x80\xae\r\n",
		"padded":          fmt.Sprintf("Minibot-Wire: 0%d\r\n", Wire),
		"negative":        fmt.Sprintf("Minibot-Wire: -%d\r\n", Wire),
		"a number beyond": "Minibot-Wire: 99999999999999999999999999\r\n",
		"huge":            "Minibot-Wire: " + strings.Repeat("2", 8000) + "\r\nMinibot-Version: " + strings.Repeat("\xe2\x82", 2000) + "\r\n",
		"twice":           fmt.Sprintf("Minibot-Wire: 1\r\nMinibot-Wire: %d\r\n", Wire),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", c.Socket)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "GET /v1/secrets/A HTTP/1.1\r\nHost: x\r\n"+head+"\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			var e Error
			if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
				t.Fatal(err)
			}
			printable := strings.IndexFunc(e.Message, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
			if resp.StatusCode != http.StatusPreconditionFailed || e.Code != CodeVersion || e.HintMsg == "" || len(e.Message) > 400 || !printable {
				t.Errorf("%d: %+v", resp.StatusCode, e)
			}
		})
	}
}

// A client whose daemon answers nonsense says so, whatever it is, and holds no more of it than it must.
func TestVersionSkewGarbageFromTheDaemon(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want error
	}{
		"no HTTP":         {"SSH-2.0-OpenSSH_9\r\n", ErrUnreachable},
		"nothing":         {"", ErrUnreachable},
		"no header":       {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", ErrVersion},
		"words":           {"HTTP/1.1 200 OK\r\nMinibot-Wire: two\r\nMinibot-Version: \xff\x1b[31m\r\nContent-Length: 2\r\n\r\n{}", nil},
		"huge header":     {"HTTP/1.1 200 OK\r\nMinibot-Wire: " + strings.Repeat("2", 1<<20) + "\r\n\r\n", ErrUnreachable},
		"many headers":    {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 1<<17), ErrUnreachable},
		"many 1xx":        {strings.Repeat("HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n", 1<<17), ErrUnreachable},
		"redirect":        {"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\n" + wireHead + "\r\n", errFailed},
		"no JSON":         {wireAnswer + "Content-Length: 3\r\n\r\nxyz", ErrUnreachable},
		"endless JSON":    {wireAnswer + "\r\n{\"phase\":\"" + strings.Repeat("x", maxAnswer), ErrUnreachable},
		"deep JSON":       {wireAnswer + "\r\n" + strings.Repeat("[", maxAnswer), ErrUnreachable},
		"wrong JSON":      {wireAnswer + "\r\n[1,2,3]", ErrUnreachable},
		"error, no words": {"HTTP/1.1 500 X\r\n" + wireHead + "\r\n<html>", errFailed},
		"unknown code":    {"HTTP/1.1 418 X\r\n" + wireHead + "\r\n{\"code\":\"teapot\",\"message\":\"m\"}", errFailed},
		"half":            {wireAnswer + "Content-Length: 100\r\n\r\n{\"phase\":", ErrUnreachable},
		"gzip":            {wireAnswer + "Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08", ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := answering(t, test.text).Status(t.Context())
			if err == nil || (test.want != nil && !errors.Is(err, test.want)) || len(err.Error()) > 1000 {
				t.Errorf("%.1000v", err)
			}
		})
	}
}

// Neither a stream's line nor a value is taken that is larger than any can be.
func TestAttackHugeAnswers(t *testing.T) {
	endless := strings.Repeat("x", 2*maxLine)
	ctx := t.Context()
	for name, call := range map[string]func(*Client) error{
		"line of progress": func(c *Client) error { return c.Operate(ctx, Operation{Verb: VerbReload}, nil) },
		"event":            func(c *Client) error { return c.Events(ctx, EventQuery{}, func(Event) error { return nil }) },
		"value":            func(c *Client) error { _, err := c.Reveal(ctx, "A"); return err },
	} {
		err := call(answering(t, wireAnswer+"\r\n{\"message\":\""+endless))
		if err == nil || !errors.Is(err, ErrUnreachable) && !errors.Is(err, secrets.ErrTooLarge) || len(err.Error()) > 1000 {
			t.Errorf("%s: %.1000v", name, err)
		}
	}
	var lines strings.Builder
	trailer := wireAnswer + "Trailer: Minibot-Error\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nMinibot-Error: %%%\r\n\r\n"
	if err := answering(t, trailer).Logs(ctx, "", false, 0, &lines); !errors.Is(err, ErrUnreachable) || lines.String() != "x" {
		t.Errorf("a damaged trailer: %q, %v", lines.String(), err)
	}
}

// A daemon that takes the request and never answers holds a command only for as long as that wants.
func TestAttackDaemonThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := (&Client{dial: func(context.Context) (net.Conn, error) { return near, nil }}).Status(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		_ = far.Close()
	})
}
