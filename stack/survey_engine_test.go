package stack

import (
	"io"
	"slices"
	"strings"
	"testing"
)

// Copied file by file or exported as a whole, a real layer shows the same: what was written into it, and beneath no mount.
func TestSurveyReadsARealLayerBothWays(t *testing.T) {
	r := newRig(t, `
services:
  a:
    image: IMAGE
    entrypoint: SLEEP
    network_mode: none
    secrets: [K]
    volumes: ["kept:/new/kept"]
volumes: { kept: {} }
secrets: { K: { environment: K } }
`)
	r.create()
	r.feed("K", "canary-delivered")
	r.start("a")
	r.sh("a", "mkdir -p /new/d; echo canary-1 >/new/d/f; echo canary-2 >>/etc/passwd; echo canary-3 >/data/memory; echo canary-4 >/new/kept/f; ln -s /canary-5 /new/link")
	want := []string{"layer /etc/passwd", "layer /new/d/f", "layer /new/link", "volume /f"}
	for _, from := range []int{exportFrom, 1} {
		var got []string
		s := &survey{engine: r.engine, limit: volumeLimit, exportFrom: from, visit: func(x Exhibit) error {
			if x.Err != nil {
				r.Errorf("%s %s: %v", x.Kind, x.Part, x.Err)
				return x.Err
			}
			body, err := io.ReadAll(x.Body)
			if (x.Kind == "layer" || x.Kind == "volume") && strings.Contains(string(body), "canary") {
				got = append(got, x.Kind+" "+x.Part)
			}
			return err
		}}
		r.must(s.listVolumes(r.Context()))
		r.must(s.container(r.Context(), r.container("a").ID, Exhibit{}))
		slices.Sort(got)
		r.equal("what shows", strings.Join(got, ", "), strings.Join(want, ", "))
	}
}
