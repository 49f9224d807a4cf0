package emulation

import (
	"fmt"
	"syscall"
)

// Exit statuses of launchctl that the emulation gives by itself.
const (
	exitNoFile       = 2
	exitNoProcess    = 3
	exitIO           = 5
	exitInProgress   = 36
	exitAlready      = 37
	exitUsage        = 64
	exitBadPlist     = 109
	exitBadLabel     = 110
	exitBadProgram   = 111
	exitNoDomain     = 112
	exitNoService    = 113
	exitDisabled     = 119
	exitBadOwner     = 122
	exitTearingDown  = 124
	exitDomainCannot = 125
	exitWrongSession = 134
	exitUnexpected   = 153
)

// darwinErrors are errno values whose numbers differ on Linux.
var darwinErrors = map[int]string{exitInProgress: "Operation now in progress", exitAlready: "Operation already in progress"}

// launchdErrors are launchd's own.
var launchdErrors = map[int]string{
	107: "Malformed bundle", 108: "Invalid path", exitBadPlist: "Invalid property list",
	exitBadLabel: "Invalid or missing service identifier", exitBadProgram: "Invalid or missing Program/ProgramArguments",
	exitNoDomain: "Could not find specified domain", exitNoService: "Could not find specified service",
	118: "Bad response from server", exitDisabled: "Service is disabled", 121: "Path not searched for services",
	exitBadOwner: "Path had bad ownership/permissions", exitTearingDown: "Domain is tearing down",
	exitDomainCannot: "Domain does not support specified action", exitWrongSession: "Service cannot load in requested session",
	140: "Service name is reserved or invalid", 144: "Requestor lacks required entitlement",
	150: "Operation not permitted while System Integrity Protection is engaged", exitUnexpected: "Completely unexpected error",
}

// message says what an exit status means.
func message(exit int) string {
	if text, ok := darwinErrors[exit]; ok {
		return text
	}
	if text, ok := launchdErrors[exit]; ok {
		return text
	}
	switch exit {
	case int(syscall.EPERM):
		return "Operation not permitted"
	case exitNoFile:
		return "No such file or directory"
	case exitNoProcess:
		return "No such process"
	case exitIO:
		return "Input/output error"
	case int(syscall.EACCES):
		return "Permission denied"
	}
	return "unknown error code"
}

// failure is the answer to a verb that ends with an exit status, in launchctl's words.
func failure(verb, target string, exit int) Response {
	text := fmt.Sprintf("%d: %s", exit, message(exit))
	switch verb {
	case "bootstrap":
		text = "Bootstrap failed: " + text
		if exit == exitDisabled || exit == exitBadOwner {
			text = target + ": " + message(exit) + "\n" + text
		}
		if exit == exitIO {
			text += "\nTry re-running the command as root for richer errors."
		}
	case "bootout":
		text = "Boot-out failed: " + text
	case "kickstart":
		text = fmt.Sprintf("Could not kickstart service %q: %s", target, text)
	case "print", "print-disabled":
		text = "Could not print domain: " + text
	default:
		text = fmt.Sprintf("Could not %s service: %s", verb, text)
	}
	return Response{Exit: exit, Stderr: text + "\n"}
}

// notFound is the answer where a service is asked for that is not loaded.
func (s *Server) notFound(label string) Response {
	return Response{Exit: exitNoService, Stderr: fmt.Sprintf("Bad request.\nCould not find service %q in domain for user gui: %d\n", label, s.config.UID)}
}

// noDomain is the answer where a domain is asked for that is not there.
func noDomain(uid string) Response {
	return Response{Exit: exitNoDomain, Stderr: "Bad request.\nCould not find domain for user gui: " + uid + "\n"}
}

func usage(verb string) Response {
	return Response{Exit: exitUsage, Stderr: "Usage: launchctl " + verb + " …\n"}
}
