package control

import (
	"cmp"
	"errors"
	"net/http"

	"minibot/hint"
	"minibot/secrets"
)

// Error is a failure as it goes over the wire, and as the client returns it. Hint says what to do. errors.Is finds
// the sentinel of its code (secrets.ErrNotFound, ErrRolledBack, …) and hint.Of its hint.
type Error struct {
	Code    string `json:"code"` // see the Code constants
	Message string `json:"message"`
	HintMsg string `json:"hint,omitempty"`

	cause error // what the client saw itself; nil for what came over the wire
}

// Error is the message, or what the code stands for where another program sent none.
func (e *Error) Error() string { return cmp.Or(e.Message, kindOf(e.Code).sentinel.Error()) }

// Unwrap returns the sentinel of the code, with the hint attached, and what the client saw itself.
func (e *Error) Unwrap() []error {
	sentinel := kindOf(e.Code).sentinel
	if e.HintMsg != "" {
		sentinel = hint.Wrap(sentinel, "%s", e.HintMsg)
	}
	if e.cause == nil {
		return []error{sentinel}
	}
	return []error{sentinel, e.cause}
}

// Codes of Error. The table below gives each its sentinel, exit code and HTTP status.
const (
	CodeFailed      = "failed"
	CodeUsage       = "usage"
	CodeNotFound    = "not-found"
	CodeRolledBack  = "rolled-back"
	CodeRecovery    = "recovery-pending"
	CodeUnreachable = "unreachable"
	CodeLocked      = "locked"
	CodeDenied      = "denied"
	CodeUnavailable = "store-unavailable"
	CodeNoStore     = "no-store"
	CodeInvalidName = "invalid-name"
	CodeEmptyValue  = "empty-value"
	CodeNUL         = "nul-in-value"
	CodeTooLarge    = "too-large"
	CodeInterrupted = "interrupted"
	CodeVersion     = "version"
	CodeBusy        = "busy"
	CodeStopping    = "stopping"
	CodeLockedDown  = "locked-down"
	CodeTooMany     = "too-many"
	CodeUnrecorded  = "unrecorded"
	CodeInternal    = "internal"
)

// What a backend or a command may wrap, beside the sentinels of secrets, to choose code and exit code.
var (
	ErrUsage           = errors.New("usage")
	ErrRolledBack      = errors.New("rolled back")
	ErrRecoveryPending = errors.New("a recovery is pending")
	ErrUnreachable     = errors.New("minibotd is unreachable")
	ErrInterrupted     = errors.New("interrupted") // by a person, at a prompt
	ErrVersion         = errors.New("the versions do not fit")
	ErrStopping        = errors.New("minibotd is stopping")
	ErrBusy            = errors.New("another change is under way")
	ErrLockedDown      = errors.New("the stack is locked down") // nothing is started until unlock
	ErrTooMany         = errors.New("too many requests")
	ErrUnrecorded      = errors.New("not revealed, because it cannot be recorded")

	errInternal = errors.New("internal error")
	errPanicked = errors.New("a request failed in an unexpected way: the log shows where") // ends the server
	errFailed   = errors.New("failed")
)

// kind is one row of the table: all there is to know of a code.
type kind struct {
	code     string
	sentinel error
	exit     int
	status   int
}

// kinds is searched in order, so what says most about the state of the system stands first. The last row is the rest.
var kinds = [...]kind{
	{CodeLockedDown, ErrLockedDown, 1, http.StatusConflict},
	{CodeRecovery, ErrRecoveryPending, 5, http.StatusConflict},
	{CodeRolledBack, ErrRolledBack, 4, http.StatusConflict},
	{CodeInterrupted, ErrInterrupted, 130, http.StatusInternalServerError},
	{CodeUnreachable, ErrUnreachable, 6, http.StatusBadGateway},
	{CodeVersion, ErrVersion, 1, http.StatusPreconditionFailed},
	{CodeStopping, ErrStopping, 1, http.StatusServiceUnavailable},
	{CodeBusy, ErrBusy, 1, http.StatusConflict},
	{CodeTooMany, ErrTooMany, 1, http.StatusTooManyRequests},
	{CodeUsage, ErrUsage, 2, http.StatusBadRequest},
	{CodeInvalidName, secrets.ErrInvalidName, 2, http.StatusBadRequest},
	{CodeEmptyValue, secrets.ErrEmptyValue, 2, http.StatusBadRequest},
	{CodeNUL, secrets.ErrNUL, 2, http.StatusBadRequest},
	{CodeTooLarge, secrets.ErrTooLarge, 2, http.StatusRequestEntityTooLarge},
	{CodeLocked, secrets.ErrLocked, 7, http.StatusLocked},
	{CodeDenied, secrets.ErrDenied, 7, http.StatusForbidden},
	{CodeUnavailable, secrets.ErrUnavailable, 7, http.StatusServiceUnavailable},
	{CodeNoStore, secrets.ErrNoStore, 7, http.StatusServiceUnavailable},
	{CodeUnrecorded, ErrUnrecorded, 1, http.StatusInsufficientStorage},
	{CodeNotFound, secrets.ErrNotFound, 3, http.StatusNotFound},
	{CodeInternal, errInternal, 1, http.StatusInternalServerError},
	{CodeFailed, errFailed, 1, http.StatusInternalServerError},
}

// kindOf returns the row of a code; a code of a newer program is a plain failure.
func kindOf(code string) kind {
	for _, k := range kinds {
		if k.code == code {
			return k
		}
	}
	return kinds[len(kinds)-1]
}

// kindOfError returns the row of the first sentinel that err wraps.
func kindOfError(err error) kind {
	for _, k := range kinds {
		if errors.Is(err, k.sentinel) {
			return k
		}
	}
	return kinds[len(kinds)-1]
}

// AsError returns err as it goes over the wire: its whole text, its outermost hint, and the code of what it wraps.
// It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	return &Error{Code: kindOfError(err).code, Message: err.Error(), HintMsg: hint.Of(err)}
}
