package config

import (
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Notify is who is told of troubles. The zero one tells nobody.
type Notify struct {
	Command        []string `toml:"command" comment:"a program, by its absolute path, and its arguments: run with the message as JSON on stdin and in MINIBOT_EVENT, MINIBOT_SERVICE, …"`
	Webhook        string   `toml:"webhook" comment:"an https URL that the message is posted to as JSON, or secret:NAME for one that is in the store, as it should be where the URL itself lets in"`
	HeartbeatURL   string   `toml:"heartbeat_url" comment:"an https URL that is called while the stack is healthy, or secret:NAME; who expects the calls notices their absence"`
	HeartbeatEvery string   `toml:"heartbeat_every" comment:"how often: 10s to 24h"`
	On             []string `toml:"on" comment:"what is told: degraded, recovered, gave-up, flapping, engine-unreachable, locked-down"`
	Repeat         string   `toml:"repeat" comment:"after this time a trouble that lasts is told again: 5m to 720h; 0 for never"`
}

// NotifyKinds are what Notify.On may name.
var NotifyKinds = []string{"degraded", "recovered", "gave-up", "flapping", "engine-unreachable", "locked-down"}

func defaultNotify() Notify {
	return Notify{Command: []string{}, HeartbeatEvery: "1m", On: []string{"degraded", "recovered", "gave-up", "engine-unreachable", "locked-down"}, Repeat: "6h"}
}

// SecretPrefix is how a URL begins that is in the store.
const SecretPrefix = "secret:"

var secretName = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`) // as secrets.ParseName has it

var errEndpoint = errors.New("want an https URL, or http on this machine itself")

// ParseEndpoint reads a URL that a message may be sent to: https, or http on the loopback. Its error never quotes the text.
func ParseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Opaque != "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, errEndpoint
	}
	ip := net.ParseIP(u.Hostname())
	if local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback(); u.Scheme == "https" || u.Scheme == "http" && local {
		return u, nil
	}
	return nil, errEndpoint
}

// SecretOf is the secret that holds the URL of a webhook or a heartbeat; "" where it does not stand in the store.
func SecretOf(url string) string {
	name, _ := strings.CutPrefix(url, SecretPrefix)
	if name == url {
		return ""
	}
	return name
}

// Durations are HeartbeatEvery and Repeat of a valid configuration.
func (n Notify) Durations() (every, repeat time.Duration) {
	every, _ = between(n.HeartbeatEvery, 10*time.Second, 24*time.Hour, false)
	repeat, _ = between(n.Repeat, 5*time.Minute, 720*time.Hour, true)
	return every, repeat
}

func between(text string, least, most time.Duration, zero bool) (d time.Duration, ok bool) {
	d, err := time.ParseDuration(text)
	return d, err == nil && (d >= least && d <= most || zero && d == 0)
}

// validate tells of each fault. It quotes no URL, which may be as good as a password.
func (n Notify) validate(fault func(key, format string, args ...any)) {
	switch {
	case len(n.Command) > 0 && !filepath.IsAbs(n.Command[0]):
		fault("notify.command", "want a program by its absolute path, and its arguments")
	case slices.ContainsFunc(n.Command, func(s string) bool { return strings.ContainsRune(s, 0) }):
		fault("notify.command", "it holds a NUL byte")
	}
	for _, e := range [...]struct{ key, url string }{{"notify.webhook", n.Webhook}, {"notify.heartbeat_url", n.HeartbeatURL}} {
		if name := SecretOf(e.url); name != "" || e.url == SecretPrefix {
			if !secretName.MatchString(name) {
				fault(e.key, "want secret:NAME, with the name of a secret")
			}
		} else if e.url != "" {
			if _, err := ParseEndpoint(e.url); err != nil {
				fault(e.key, "%v", err)
			}
		}
	}
	if _, ok := between(n.HeartbeatEvery, 10*time.Second, 24*time.Hour, false); !ok {
		fault("notify.heartbeat_every", "%q is not between 10s and 24h", n.HeartbeatEvery)
	}
	if _, ok := between(n.Repeat, 5*time.Minute, 720*time.Hour, true); !ok {
		fault("notify.repeat", "%q is neither 0 nor between 5m and 720h", n.Repeat)
	}
	for _, kind := range n.On {
		if !slices.Contains(NotifyKinds, kind) {
			fault("notify.on", "unknown kind %q, want some of %s", kind, strings.Join(NotifyKinds, ", "))
		}
	}
}
