package launchd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"minibot/hint"
)

// Errors of launchctl. A [Failure] wraps one of them.
var (
	// ErrNoSession: the user is not logged in at the Mac's desktop, so that there is no domain gui/UID (112, 125, 134).
	ErrNoSession = errors.New("there is no desktop session")
	// ErrNotLoaded: launchd does not know the label (3, 113).
	ErrNotLoaded = errors.New("the agent is not loaded")
	// ErrDisabled: the label was disabled, which outlives its file (119).
	ErrDisabled = errors.New("the agent is disabled")
	// ErrBusy: launchd is still at work on the label (36, 37, 124).
	ErrBusy = errors.New("launchd is still at work on the agent")
	// ErrIO: launchd's "Input/output error" (5): the label is still loaded, or there is no session, or the file is unusable.
	ErrIO = errors.New("launchd reports an input/output error")
	// ErrBadFile: launchd does not take the property list (2, 107 to 111, 121, 122, 140).
	ErrBadFile = errors.New("launchd does not take the property list")
	// ErrBadOwner: others may write to the property list, or it belongs to somebody else (122). It is an ErrBadFile too.
	ErrBadOwner = fmt.Errorf("%w: its owner or mode is wrong", ErrBadFile)
	// ErrDenied: not this user's to do (1, 13, 144, 150).
	ErrDenied = errors.New("launchd refuses")
	// ErrNoProgram: there is no launchctl to run, as on other systems than macOS.
	ErrNoProgram = errors.New("launchctl cannot be run")
	// ErrTimeout: launchctl did not answer by the deadline.
	ErrTimeout = errors.New("launchctl does not answer")
	// ErrUnknown: an answer that this package does not know.
	ErrUnknown = errors.New("launchctl gave an answer that minibot does not know")
)

// Failure is a call of launchctl that failed. Its text has neither the label nor what launchctl printed.
type Failure struct {
	Verb string // "bootstrap"
	Exit int    // launchctl's exit status; -1 when it did not exit by itself
	Err  error  // one of the errors above
}

// Error implements error.
func (f *Failure) Error() string {
	if f.Exit < 0 {
		return fmt.Sprintf("launchctl %s: %v", f.Verb, f.Err)
	}
	return fmt.Sprintf("launchctl %s: %v (exit status %d)", f.Verb, f.Err, f.Exit)
}

// Unwrap implements errors.Unwrap.
func (f *Failure) Unwrap() error { return f.Err }

// Exit statuses of launchctl are errno values below 107 and launchd's own from there on (`launchctl error N` prints one).
const (
	exitNotPermitted   = 1
	exitNoFile         = 2
	exitNoProcess      = 3
	exitIO             = 5
	exitAccess         = 13
	exitInProgress     = 36
	exitAlready        = 37
	exitBadBundle      = 107
	exitBadPath        = 108
	exitBadPlist       = 109
	exitBadLabel       = 110
	exitBadProgram     = 111
	exitNoDomain       = 112
	exitNoService      = 113
	exitDisabled       = 119
	exitNotSearched    = 121
	exitBadOwner       = 122
	exitTearingDown    = 124
	exitDomainCannot   = 125
	exitWrongSession   = 134
	exitReservedName   = 140
	exitNotEntitled    = 144
	exitProtected      = 150
	textNoDomain       = "Could not find domain"
	textDomainCannot   = "Domain does not support specified action"
	textCouldNotPrint  = "Could not print domain"
	hintUntilLogin     = "log in at the Mac's desktop, also over Screen Sharing; at login launchd loads it by itself"
	hintDisabled       = "run `launchctl enable %s`"
	hintStillThere     = "run `launchctl bootout %s`, wait until `launchctl print %s` no longer finds it, and try again"
	hintRefused        = "run `plutil -lint '%s'`; when that finds nothing, run `launchctl bootout %s` and try again"
	hintNotLoaded      = "run `minibotd install`"
	hintLaunchctlError = "run `launchctl error %d`, which prints what launchd means by it"
)

// kinds maps exit statuses to errors. Where it has none, the answer is ErrUnknown.
var kinds = map[int]error{
	exitNotPermitted: ErrDenied, exitAccess: ErrDenied, exitNotEntitled: ErrDenied, exitProtected: ErrDenied,
	exitNoProcess: ErrNotLoaded, exitNoService: ErrNotLoaded,
	exitIO:         ErrIO,
	exitInProgress: ErrBusy, exitAlready: ErrBusy, exitTearingDown: ErrBusy,
	exitDisabled: ErrDisabled,
	exitNoDomain: ErrNoSession, exitDomainCannot: ErrNoSession, exitWrongSession: ErrNoSession,
	exitBadOwner: ErrBadOwner,
	exitNoFile:   ErrBadFile, exitBadBundle: ErrBadFile, exitBadPath: ErrBadFile, exitBadPlist: ErrBadFile, exitBadLabel: ErrBadFile,
	exitBadProgram: ErrBadFile, exitNotSearched: ErrBadFile, exitReservedName: ErrBadFile,
}

// classify makes an error of an exit status other than 0. Some systems give a wrong status for a missing domain, so two
// sentences of launchctl are looked for in what it printed; nothing else of that is used.
func classify(verb string, exit int, printed, target string) error {
	err := kinds[exit]
	switch {
	case strings.Contains(printed, textNoDomain), strings.Contains(printed, textDomainCannot):
		err = ErrNoSession
	case err == nil, exit == exitNotPermitted && strings.Contains(printed, textCouldNotPrint):
		err = ErrUnknown
	}
	failure := &Failure{Verb: verb, Exit: exit, Err: err}
	switch {
	case errors.Is(err, ErrNoSession):
		return hint.Wrap(failure, hintUntilLogin)
	case errors.Is(err, ErrDisabled):
		return hint.Wrap(failure, hintDisabled, target)
	case errors.Is(err, ErrNotLoaded):
		return hint.Wrap(failure, hintNotLoaded)
	case errors.Is(err, ErrIO), errors.Is(err, ErrBusy):
		return hint.Wrap(failure, hintStillThere, target, target)
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrDenied):
		return hint.Wrap(failure, hintLaunchctlError, exit)
	}
	return failure
}

// late makes an error of a call that a deadline or a caller ended.
func late(verb string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("launchctl %s: %w", verb, err)
	}
	return hint.Wrap(&Failure{Verb: verb, Exit: -1, Err: fmt.Errorf("%w: %w", ErrTimeout, err)},
		"try again; when it goes on, restart the Mac: launchd is stuck")
}
