package main

import (
	"strings"
	"testing"
	"time"

	"minibot/control"
)

// told waits for the status that names the given new volumes.
func (in *installation) told(volumes ...string) control.Status {
	in.t.Helper()
	return in.until("the new volumes are "+strings.Join(volumes, " "), 60*time.Second, func(s control.Status) bool {
		var names []string
		for _, v := range s.NewVolumes {
			names = append(names, v.Name)
		}
		return s.Phase == control.PhaseHealthy && strings.Join(names, " ") == strings.Join(volumes, " ")
	})
}

// A volume that somebody removed is not taken for the one before: a person hears of it until they act, over restarts of the daemon too.
func TestARemovedDataVolumeIsTold(t *testing.T) {
	t.Parallel()
	in := install(t, "", strings.Replace(strings.NewReplacer(
		`  a: { <<: *tiny,`, `  a: { <<: *tiny, volumes: ["data:/kept", "scratch:/scratch"],`,
		`  b: { <<: *tiny,`, `  b: { <<: *tiny, volumes: ["other:/kept"],`).Replace(tinyCompose),
		"\nsecrets:\n", "\nvolumes:\n  data:\n  other:\n  scratch: { driver_opts: { type: tmpfs, device: tmpfs } }\nsecrets:\n", 1), nil)
	in.must("K="+tinyCanary+"\n", "mb-secrets", "init")
	in.start()
	in.healthy(60 * time.Second)
	in.told()
	in.term()
	in.start()
	in.healthy(60 * time.Second)
	in.told()

	in.kill()
	in.docker("rm", "-f", "-v", in.container("a"), in.container("b"), in.container("c"))
	in.docker("volume", "rm", in.name+"_data", in.name+"_scratch")
	in.start()
	in.told(in.name + "_data")
	if out := in.run("", "minibotd", "status").stdout; !strings.Contains(out, "warning: volume "+in.name+"_data of a was made anew") || !strings.Contains(out, "minibotd start a") {
		t.Errorf("status: %s", out)
	}
	if out := in.must("", "minibotd", "events", "--kind", "volume"); strings.Count(out, "was made anew") != 1 {
		t.Errorf("events: %s", out)
	}
	in.term()
	in.start()
	in.told(in.name + "_data")
	in.must("", "minibotd", "start", "a")
	in.told()
}
