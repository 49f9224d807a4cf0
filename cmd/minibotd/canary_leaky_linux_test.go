package main

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minibot/control"
)

// tellingCompose is a service that writes its secret to its own log in several ways and ends: also in a line so long that the
// engine cuts it in the middle of the value.
const tellingCompose = `name: ${MINIBOT_NAME}
services:
  a:
    image: ${MINIBOT_REDIS_IMAGE}
    container_name: "${MINIBOT_NAME}-a"
    entrypoint:
      - sh
      - -c
      - |
        f=/run/secrets/K
        echo "it is $$(cat $$f)" >&2
        base64 -w0 $$f; echo
        (printf user:; cat $$f) | base64 -w0; echo
        od -An -v -tx1 $$f | tr -d ' \n'; echo
        head -c 16370 /dev/zero | tr '\0' x; cat $$f; echo
        exit 3
    network_mode: none
    secrets: [K]
    tmpfs: [/data]
secrets:
  K: { environment: K, x-minibot: { description: a canary } }
`

// TestCanaryOfATellingServiceStaysInItsLog has a service write its secret, in several forms, to its own log, where the engine keeps
// it: that is the service's doing. Nothing of it may come out of minibot, or go anywhere else.
func TestCanaryOfATellingServiceStaysInItsLog(t *testing.T) {
	t.Parallel()
	var set secretSet
	e := newEvidence(t)
	proxy := proxyTo(t, "", newRecorder(t, e, cmp.Or(os.Getenv("DOCKER_HOST"), "/var/run/docker.sock")).record)
	in := install(t, proxy.host(), tellingCompose, nil)
	in.configure(`log_level = "debug"`)
	in.must("K="+set.special("K", `canary "+/%`, ` é\' end`)+"\n", "mb-secrets", "init")
	in.start()
	in.until("degraded", 3*time.Minute, func(s control.Status) bool {
		return s.Phase == control.PhaseDegraded && len(service(s, "a").LastLog) > 0
	})
	for _, command := range []string{"status", "status --json", "events --json", "logs", "logs a --tail 0"} {
		r := in.run("", "minibotd", strings.Fields(command)...)
		e.keep(false, "output of minibotd "+command, r.stdout+r.stderr)
	}
	if out := in.must("", "minibotd", "logs", "a"); !strings.Contains(out, "it is [redacted]") || !strings.Contains(out, strings.Repeat("x", 16000)) {
		t.Errorf("the log is not shown, %d bytes", len(out))
	}
	in.term()
	e.keep(false, "the daemon's log", in.log.String())
	proxy.close()
	in.engine = "" // for its removal
	e.flush()
	found := 0
	for _, h := range set.tree(t, e.part(false)).hits {
		if strings.HasPrefix(filepath.Base(h.path), "answer GET containers - logs") {
			found++
			continue
		}
		t.Errorf("%v", h)
	}
	if found == 0 {
		t.Error("the service did not tell, or it is not found")
	}
	for _, h := range set.tree(t, in.home).hits {
		t.Errorf("%v", h)
	}
}
