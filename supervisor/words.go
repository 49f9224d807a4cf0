package supervisor

import "fmt"

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
		case c.OOMKilled:
			return fmt.Sprintf("exited with %d, out of memory", c.ExitCode)
		}
		return fmt.Sprintf("exited with %d", c.ExitCode)
	case condUnhealthy:
		return "unhealthy"
	case condDone:
		return "completed"
	}
	return ""
}

func (d *decision) goodView(r *record) view {
	v := view{state: "running", settled: !r.wanted.Completes}
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

func busyView(r *record) view {
	v := view{state: "starting", reason: r.busy.Reason}
	switch {
	case r.busy.Kind == ActionStop, r.busy.Kind == ActionKill:
		v = view{state: "running", reason: "stopping"}
	case r.busy.Kind == ActionAdopt:
		v.state = "running"
	case r.degraded:
		v.state = "degraded"
	case r.busy.Heal:
		v.state = "healing"
	}
	return v
}

func retryView(r *record, reason string) view {
	v := view{state: "healing", reason: because(reason, r), hint: r.hint}
	if r.degraded {
		v.state = "degraded"
	}
	return v
}

// because adds to reason what the last action's error and the failures say.
func because(reason string, r *record) string {
	switch {
	case r.err != "" && reason != "":
		reason += "; " + r.err
	case r.err != "":
		reason = r.err
	}
	if r.degraded {
		reason += fmt.Sprintf("; %d failed attempts", len(r.failures))
	}
	return reason
}
