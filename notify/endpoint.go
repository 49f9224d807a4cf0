package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"minibot/config"
	"minibot/hint"
	"minibot/secrets"
)

const (
	retries       = 5 // after the first attempt
	firstDelay    = time.Second
	maxRetryAfter = 5 * time.Minute
	maxReply      = 64 << 10        // bytes of an answer that are read, and dropped
	keepURL       = 5 * time.Minute // a URL from the store is read anew
)

// endpoint is a URL that is called. The URL may be as good as a password: it is learnt by the redaction, and no error quotes it.
type endpoint struct {
	what   string
	text   string // a URL, or secret:NAME
	secret func(context.Context, secrets.Name) (secrets.Value, error)
	redact *secrets.Redaction
	client *http.Client
	most   time.Duration // one call takes

	mu   sync.Mutex
	url  *url.URL // as last read from the store
	read time.Time
}

func (e *endpoint) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.what) }

// LogValue hides the URL.
func (e *endpoint) LogValue() slog.Value { return slog.StringValue(e.what) }

func (n *Notifier) endpoint(what, text string) *endpoint {
	e := &endpoint{what: what, text: text, secret: n.o.Secret, redact: n.o.Redact, most: deadline, client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if u, err := config.ParseEndpoint(text); err == nil {
		e.learn(text, u)
	}
	return e
}

// learn has a URL redacted wherever it shows up: as it is, and what it has beyond the host.
func (e *endpoint) learn(text string, u *url.URL) {
	parts := []string{text}
	if rest := u.RequestURI(); len(rest) >= 8 {
		parts = append(parts, rest)
	}
	if password, set := u.User.Password(); set {
		parts = append(parts, password)
	}
	for _, part := range parts {
		if value, err := secrets.NewValue([]byte(part)); err == nil {
			e.redact.Learn(value)
		}
	}
}

// target is the URL, from the store if it is there.
func (e *endpoint) target(ctx context.Context) (*url.URL, error) {
	name := config.SecretOf(e.text)
	if name == "" {
		u, err := config.ParseEndpoint(e.text)
		if err != nil {
			return nil, refused("%w", err)
		}
		return u, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if age := time.Since(e.read); e.url != nil && age >= 0 && age < keepURL {
		return e.url, nil
	}
	value, err := e.secret(ctx, secrets.Name(name))
	if errors.Is(err, secrets.ErrNotFound) || err == nil && value.IsZero() {
		return nil, hint.Wrap(refused("secret %s, which holds its URL, is not set", name), "mb-secrets set %s", name)
	}
	if err != nil {
		return nil, fmt.Errorf("read secret %s, which holds its URL: %w", name, err)
	}
	text := string(bytes.TrimSpace(value.Reveal()))
	u, err := config.ParseEndpoint(text)
	if err != nil {
		return nil, hint.Wrap(refused("secret %s: %w", name, err), "mb-secrets set %s", name)
	}
	e.learn(text, u)
	e.url, e.read = u, time.Now()
	return u, nil
}

// post sends a message, once.
func (e *endpoint) post(ctx context.Context, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	return e.call(ctx, http.MethodPost, body)
}

func (e *endpoint) get(ctx context.Context) error { return e.call(ctx, http.MethodGet, nil) }

// later is a failure after which the other side wants to be left alone for a time.
type later struct {
	error
	after time.Duration
}

func (l *later) Unwrap() error { return l.error }

// call makes one request. An error wraps errRefused where another attempt would not change it.
func (e *endpoint) call(ctx context.Context, method string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, e.most)
	defer cancel()
	u, err := e.target(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", e.what, err)
	}
	to := e.what + " " + u.Scheme + "://" + u.Host
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return refused("%s: the request cannot be made", to)
	}
	req.Header.Set("User-Agent", "minibotd")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := e.client.Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%s: no answer within %v", to, e.most)
		}
		return fmt.Errorf("%s: %w", to, e.redact.Error(plain(err)))
	}
	defer func() { _ = resp.Body.Close() }() // its connection is not used again
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxReply)) // for whoever minds that it is not read
		return nil
	case code >= 300 && code < 400:
		return hint.Wrap(refused("%s: it redirects (%d), which is not followed", to, code), "use the URL that it redirects to")
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		err := fmt.Errorf("%s: it answers %d", to, code)
		return &later{err, retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	default:
		return hint.Wrap(refused("%s: it answers %d", to, code), "look at the URL")
	}
}

// plain is what is below an error that has the URL in it, or what the other side has sent.
func plain(err error) error {
	if e := (*net.OpError)(nil); errors.As(err, &e) {
		return e
	}
	if e := (*tls.CertificateVerificationError)(nil); errors.As(err, &e) {
		return e
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return io.ErrUnexpectedEOF
	}
	return errors.New("it gives no proper answer")
}

// retryAfter reads the header of that name, seconds or a date, up to maxRetryAfter; 0 is nothing.
func retryAfter(text string, now time.Time) time.Duration {
	var after time.Duration
	if seconds, err := strconv.Atoi(text); err == nil {
		after = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		after = at.Sub(now)
	}
	return max(0, min(after, maxRetryAfter))
}

// persevere makes attempts, with a delay that doubles, until one succeeds or is refused.
func persevere(ctx context.Context, attempt func(context.Context) error) error {
	delay := firstDelay
	for i := 0; ; i++ {
		err := attempt(ctx)
		if err == nil || i == retries || errors.Is(err, errRefused) || ctx.Err() != nil {
			return err
		}
		wait := delay
		if l := (*later)(nil); errors.As(err, &l) {
			wait = max(wait, l.after)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		delay *= 2
	}
}
