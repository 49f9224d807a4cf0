package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/control"
	"minibot/rotation"
)

// TestEngineRestartsInTheMiddleOfARotation kills a private engine in early and late steps of a change of all secrets; with it goes
// what was delivered. In the end all is new or all is old.
func TestEngineRestartsInTheMiddleOfARotation(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(cacheDir(t), "private-rotation")
	engine := script(t, "engine", "--private", dir)
	t.Cleanup(func() { script(t, "engine", "--private", dir, "--stop") })
	for _, variable := range []string{"MINIBOT_REDIS_IMAGE", "MINIBOT_POSTGRES_IMAGE"} {
		loadImage(t, engine, variable)
	}
	in := rotating(t, engine)
	in.start()
	in.healthy(3 * time.Minute)
	before := in.agrees()
	for n, step := range []rotation.Step{rotation.StepAccept, rotation.StepAdopt} {
		changed, begun := make(chan error, 1), len(in.journal())
		go func() { changed <- in.changeAll(fmt.Sprintf("canary-plain-engine-%d", n)) }()
		in.poll("at "+string(step), time.Minute, func() bool { return strings.Contains(in.journal()[begun:], fmt.Sprintf(`"step":%q`, step)) }, in.journal)
		script(t, "engine", "--private", dir, "--kill")
		script(t, "engine", "--private", dir)
		if err := <-changed; err != nil && !errors.Is(err, control.ErrRolledBack) && !errors.Is(err, control.ErrRecoveryPending) {
			t.Errorf("killed at %s: %v", step, err)
		}
		receipt := in.finished()
		in.healthy(2 * time.Minute)
		after := in.agrees(before)
		if done := receipt.Outcome == rotation.OutcomeDone; done != (after["PLAIN"] != before["PLAIN"]) || done != (after["APP_DB"] != before["APP_DB"]) {
			t.Errorf("killed at %s: %+v, but the values say otherwise", step, receipt)
		}
		before = after
	}
}

// journal is the text of the journal of rotations.
func (in *installation) journal() string {
	in.t.Helper()
	data, err := os.ReadFile(filepath.Join(in.home, "state", "rotation.jsonl"))
	if err != nil {
		in.t.Fatal(err)
	}
	return string(data)
}
