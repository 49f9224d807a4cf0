package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Answer is what was found at a place where an engine may be.
type Answer string

// The answers. Every one but Answers has the next place asked.
const (
	NotAsked      Answer = ""               // by Places
	Answers       Answer = "answers"        // an engine of ours
	NoSocket      Answer = "no-socket"      // there is none, or no context of that name
	NotPermitted  Answer = "not-permitted"  // this user may not use it
	OthersSocket  Answer = "others-socket"  // it belongs to another user, who is not root
	NobodyListens Answer = "nobody-listens" // a socket that its engine left behind
	NotSupported  Answer = "not-supported"  // ssh://, Podman
	NoAnswer      Answer = "no-answer"      // anything else: too slow, no engine
)

var (
	errNoSocket     = errors.New("there is no socket")
	errNotPermitted = errors.New("no permission")
	errOthers       = errors.New("the socket belongs to another user")
	errNobody       = errors.New("nobody listens on the socket")
	errUnsupported  = errors.New("not supported")
)

func answerOf(err error) Answer {
	for _, a := range []struct {
		err    error
		answer Answer
	}{
		{errNoSocket, NoSocket}, {errNotPermitted, NotPermitted}, {errOthers, OthersSocket},
		{errNobody, NobodyListens}, {errUnsupported, NotSupported}, {fs.ErrNotExist, NoSocket},
	} {
		if errors.Is(err, a.err) {
			return a.answer
		}
	}
	return NoAnswer
}

// Places lists where Dial would look for the engine, best first, and asks none of them. A person's choice stands alone.
func Places(host string) ([]Candidate, error) {
	around, err := realSurroundings()
	if err != nil {
		return nil, fmt.Errorf("find the engine: %w", err)
	}
	return around.candidates(host), nil
}

// Candidates is Places with what was found at every place, those behind the first that answers too. It takes at most
// three seconds for each.
func Candidates(ctx context.Context, host string) ([]Candidate, error) {
	quietLibraries()
	around, err := realSurroundings()
	if err != nil {
		return nil, fmt.Errorf("find the engine: %w", err)
	}
	return around.askAll(ctx, host)
}

func (s surroundings) askAll(ctx context.Context, host string) ([]Candidate, error) {
	list := s.candidates(host)
	for i := range list {
		c := &list[i]
		e, err := s.dialOne(ctx, *c)
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), closed(e))
		}
		if err != nil {
			c.Answer, c.Err = answerOf(err), err
			continue
		}
		c.Answer, c.Version = Answers, e.info.Version
		if err := e.Close(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func closed(e *Engine) error {
	if e == nil {
		return nil
	}
	return e.Close()
}

// probe says what keeps a socket from being used, more exactly than the client libraries do. What a person did not name
// must belong to this user or to root: whoever owns the socket sees the secrets.
func (s surroundings) probe(ctx context.Context, c Candidate) error {
	path, ok := strings.CutPrefix(c.Host, "unix://")
	if !ok {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return socketError(err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && !c.Chosen && owner.Uid != 0 && int(owner.Uid) != s.uid {
		return errOthers
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return socketError(err)
	}
	return conn.Close()
}

// socketError replaces the system's words for what is understood, and leaves others.
func socketError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return errNoSocket
	case errors.Is(err, fs.ErrPermission):
		return errNotPermitted
	case errors.Is(err, syscall.ECONNREFUSED): // what is no socket refuses, too
		return errNobody
	}
	return err
}

// reason says why c is the engine in use: a person named it, or what was in the way at the places before it. Places with
// nothing there are not worth a word.
func reason(c Candidate, before []Candidate) string {
	text := c.From
	for _, b := range before {
		if b.Answer != NoSocket {
			text += fmt.Sprintf("; %s: %v", b.From, b.Err)
		}
	}
	return text
}

// engineHint says how an engine gets there on this system.
func engineHint(goos string, asked []Candidate) string {
	denied := slices.ContainsFunc(asked, func(c Candidate) bool { return c.Answer == NotPermitted })
	switch {
	case goos == "darwin":
		return "start Docker Desktop, OrbStack or Colima"
	case denied:
		return "run `sudo usermod -aG docker $USER` and log in again"
	}
	return "run `sudo systemctl start docker`"
}
