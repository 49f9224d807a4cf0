package control

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"minibot/secrets"
)

// trailerError ends a text stream that failed: an Error as JSON in base64.
const trailerError = "Minibot-Error"

const maxServiceName = 255

// A count in a pattern is so many copies of what it counts: the length is looked at apart.
var servicePattern = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func validService(name string) bool {
	return len(name) <= maxServiceName && servicePattern.MatchString(name)
}

// decode reads exactly one JSON value with known fields only. Its errors never quote the body, which may hold values.
func decode(body io.Reader, into any) error {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("%w: more than one value in the body", ErrUsage)
	}
	var tooBig *http.MaxBytesError
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.As(err, &tooBig):
		return &Error{Code: CodeTooLarge, Message: fmt.Sprintf("the request is larger than %d bytes", tooBig.Limit)}
	case errors.As(err, &syntax):
		return fmt.Errorf("%w: malformed JSON at byte %d", ErrUsage, syntax.Offset)
	case errors.As(err, &mistyped):
		return fmt.Errorf("%w: field %q has the wrong type", ErrUsage, mistyped.Field)
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		return fmt.Errorf("%w: the body has a field that this version does not know", ErrUsage)
	}
	return fmt.Errorf("%w: the body is no valid JSON", ErrUsage)
}

// check says what is wrong with op, wrapping ErrUsage. Whether the service exists is the backend's to know.
func (op Operation) check() error {
	if err := op.checkSeconds(); err != nil {
		return err
	}
	switch op.Verb {
	case VerbReload, VerbNotify:
		if op.Service != "" {
			return fmt.Errorf("%w: %s takes no service", ErrUsage, op.Verb)
		}
	case VerbRestart, VerbPause, VerbResume:
		if op.Service == "" {
			return fmt.Errorf("%w: %s wants a service", ErrUsage, op.Verb)
		}
	case VerbStart, VerbStop:
	case VerbLockdown, VerbUnlock, VerbCompromise:
		return op.checkLockdown()
	default:
		return fmt.Errorf("%w: unknown operation", ErrUsage)
	}
	if op.Reason != "" || len(op.Names) > 0 || op.All {
		return fmt.Errorf("%w: %s takes neither a reason nor names", ErrUsage, op.Verb)
	}
	return checkService(op.Service)
}

func (op Operation) checkSeconds() error {
	switch most := int64(MaxPause / time.Second); {
	case op.Verb != VerbPause && op.Seconds != 0:
		return fmt.Errorf("%w: %s takes no time", ErrUsage, op.Verb)
	case op.Verb == VerbPause && (op.Seconds < 1 || op.Seconds > most):
		return fmt.Errorf("%w: a pause takes between 1s and 7 days", ErrUsage)
	}
	return nil
}

func checkService(name string) error {
	if name != "" && !validService(name) {
		return fmt.Errorf("%w: a service's name has up to 255 of A-Z, a-z, 0-9, '.', '_' and '-'", ErrUsage)
	}
	return nil
}

// checkChanges says what is wrong with changes, wrapping ErrUsage or a sentinel of secrets.
func checkChanges(changes []Change) error {
	if len(changes) == 0 {
		return fmt.Errorf("%w: no changes", ErrUsage)
	}
	seen := make(map[secrets.Name]bool, len(changes))
	for _, c := range changes {
		name, err := secrets.ParseName(string(c.Name))
		if err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("%w: %s is there twice", ErrUsage, name)
		}
		seen[name] = true
		if c.Generate {
			if len(c.Value) > 0 {
				return fmt.Errorf("%w: %s has a value and is to be generated", ErrUsage, name)
			}
			continue
		}
		if _, err := secrets.NewValue(c.Value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// query is what events, logs and history may be asked with.
type query struct {
	after   uint64
	follow  bool
	tail    int
	service string
	name    secrets.Name
	kind    string // of an event
	since   time.Time
	until   time.Time
}

// parseQuery reads the query, in which only the allowed keys may stand, once each.
func parseQuery(r *http.Request, allowed ...string) (query, error) {
	q := query{tail: -1}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, fmt.Errorf("%w: malformed query", ErrUsage)
	}
	for key, v := range values {
		if !slices.Contains(allowed, key) || len(v) != 1 {
			return q, fmt.Errorf("%w: query has a key that is unknown or stands twice", ErrUsage)
		}
		var err error
		switch key {
		case "after":
			q.after, err = strconv.ParseUint(v[0], 10, 64)
		case "follow":
			q.follow, err = strconv.ParseBool(v[0])
		case "tail":
			q.tail, err = strconv.Atoi(v[0])
		case "service":
			q.service, err = v[0], checkService(v[0])
		case "name":
			q.name, err = parseFilter(v[0])
		case "kind":
			q.kind, err = v[0], checkService(v[0]) // it has the same characters
		case "since":
			q.since, err = time.Parse(time.RFC3339Nano, v[0])
		case "until":
			q.until, err = time.Parse(time.RFC3339Nano, v[0])
		}
		if err != nil {
			return q, fmt.Errorf("%w: query key %s has no valid value", ErrUsage, key)
		}
	}
	return q, nil
}

func encodeTrailer(e *Error) string {
	body, err := json.Marshal(e)
	if err != nil { // strings alone always encode
		return ""
	}
	return base64.StdEncoding.EncodeToString(body)
}

func decodeTrailer(s string) (*Error, error) {
	body, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, err
	}
	e := new(Error)
	return e, json.Unmarshal(body, e)
}

// tracker remembers whether an answer has begun.
type tracker struct {
	http.ResponseWriter
	conn  *guarded // may be nil
	wrote bool
}

func (t *tracker) WriteHeader(status int) {
	t.wrote = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracker) Write(b []byte) (int, error) {
	t.wrote = true
	return t.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (t *tracker) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// lineWriter sends a stream, each piece at once.
type lineWriter struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	redact *secrets.Redaction // of what send sends
}

// lines makes the answer a stream.
func (a *api) lines(w http.ResponseWriter) *lineWriter {
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &lineWriter{w, rc, a.redact}
}

func (l *lineWriter) Write(b []byte) (int, error) {
	n, err := l.w.Write(b)
	if err == nil {
		err = l.rc.Flush()
	}
	return n, err
}

func (l *lineWriter) send(v any) error {
	body, err := json.Marshal(redacted(l.redact, v))
	if err != nil {
		return err
	}
	_, err = l.Write(append(body, '\n'))
	return err
}
