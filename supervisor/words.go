package supervisor

import (
	"fmt"
	"time"
)

// fault says in words what is wrong with a container.
func fault(cond condition, c Container) string {
	switch cond {
	case condMissing:
		return "its container was removed"
	case condFresh, condDead:
		switch {
		case c.Error != "":
			return "did not start: " + c.Error
		case cond == condFresh:
			return "not started yet"
		}
		return exited(c)
	case condUnhealthy:
		return "unhealthy"
	case condDone:
		return "completed"
	}
	return ""
}

func (d *decision) goodView(r *record) view {
	v := view{state: "running", settled: !r.wanted.Completes}
	if r.flapping {
		v.reason, v.hint = flapReason, "minibotd logs "+r.wanted.Name
	}
	if !r.rests.IsZero() {
		v.reason = maintained(r.rests)
	}
	if r.degraded {
		v = view{state: "degraded", reason: fmt.Sprintf("up again after %d failed attempts", len(r.failures))}
	}
	return v
}

func startingView(r *record) view {
	switch {
	case r.degraded:
		return view{state: "degraded", reason: fmt.Sprintf("starting after %d failed attempts", len(r.failures))}
	case !r.trouble.IsZero():
		return view{state: "healing", reason: "starting"}
	}
	return view{state: "starting"}
}

// exited explains how a run ended, with what the engine tells and nothing else.
func exited(c Container) string {
	text := fmt.Sprintf("exited with %d", c.ExitCode)
	switch code := c.ExitCode; {
	case exitCodes[code] != "":
		text += " (" + exitCodes[code] + ")"
	case code > 128 && signals[code-128] != "":
		text += " (" + signals[code-128] + ")"
	}
	switch {
	case c.OOMKilled && c.MemoryLimit > 0:
		text += ": out of memory, its limit is " + bytes(c.MemoryLimit)
	case c.OOMKilled:
		text += ": out of memory"
	}
	return text
}

// exitCodes are what engines and shells mean by a code.
var exitCodes = map[int]string{
	125: "the engine could not run it", 126: "its command cannot be executed", 127: "its command was not found",
}

// signals are Linux's, by which a container's process ends whatever this machine's own numbers are: those of a Mac are others.
var signals = map[int]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 10: "SIGUSR1",
	11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}

// bytes writes a size in the largest unit of which it is a whole number: 512 MiB.
func bytes(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size && n%unit.size == 0 {
			return fmt.Sprintf("%d %s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// resignedView says why nothing is done about a service that is down or unhealthy.
func resignedView(r *record, reason string) view {
	v := view{state: "degraded", reason: reason, hint: "minibotd restart " + r.wanted.Name, stuck: true}
	switch {
	case r.shut:
		v.reason = "stopped because it was unhealthy"
	case r.gaveUp:
		v.reason = fmt.Sprintf("%s; given up after %d failed attempts", because(reason, r, 0), r.heal.tries)
	case r.wanted.NoHeal:
		v.reason += "; healing is off"
	default:
		v.reason += "; left alone, as the compose file says"
	}
	return v
}

// flapReason is of one that runs and is healed again and again.
var flapReason = fmt.Sprintf("flapping: healed %d times or more within %d hours", flaps, flapWindow/time.Hour)

// maintained says until when a service is not healed.
func maintained(until time.Time) string {
	if until.IsZero() {
		return "healing goes on"
	}
	return "healing is paused until " + until.Local().Format(time.DateTime)
}

// restView is for one that is sick during a maintenance.
func restView(r *record, reason string) view {
	return view{state: "maintenance", reason: reason + "; " + maintained(r.rests), hint: "minibotd resume " + r.wanted.Name}
}

// graceView is for one that is unhealthy so soon after its start that nothing is made of it.
func graceView(r *record, reason string) view {
	v := startingView(r)
	v.reason = reason + "; not healed within " + r.wanted.Heal.StartGrace.String() + " of its start"
	return v
}

func busyView(r *record) view {
	v := view{state: "starting", reason: r.busy.Reason}
	switch {
	case r.shut:
		v = view{state: "degraded", reason: "stopping, because it is unhealthy"}
	case r.busy.Kind == ActionStop, r.busy.Kind == ActionKill:
		v = view{state: "running", reason: "stopping"}
	case r.busy.Kind == ActionAdopt, r.busy.Kind == ActionConnect:
		v.state = "running"
	case r.degraded:
		v.state = "degraded"
	case r.busy.Heal:
		v.state = "healing"
	}
	return v
}

func retryView(r *record, reason string) view {
	v := view{state: "healing", reason: because(reason, r, r.failedAttempts()), hint: r.hint}
	if r.degraded {
		v.state = "degraded"
	}
	return v
}

// because adds to reason what the last action's error says, and how many attempts have failed where that makes it degraded.
func because(reason string, r *record, failed int) string {
	switch {
	case r.err != "" && reason != "":
		reason += "; " + r.err
	case r.err != "":
		reason = r.err
	}
	if failed > 0 {
		reason += fmt.Sprintf("; %d failed attempts", failed)
	}
	return reason
}

// failedAttempts are those that make the service degraded; 0 while it is not.
func (r *record) failedAttempts() int {
	if !r.degraded {
		return 0
	}
	return len(r.failures)
}
