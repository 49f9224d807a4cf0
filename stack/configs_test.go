package stack

import (
	"strings"
	"testing"

	"minibot/stack/keeper"
)

const withConfigs = `
services:
  a:
    image: IMAGE
    entrypoint: SLEEP
    configs: [{ source: inline, target: /etc/deep/app.json, uid: "1000", gid: "1001", mode: 0600 }, variable]
  b: { image: IMAGE, entrypoint: SLEEP, configs: [other] }
configs:
  inline: { content: "one $$x" }
  variable: { content: "${VARIABLE:-given}" }
  other: { content: other }
`

func TestConfigsArePlaced(t *testing.T) {
	r := newRig(t, withConfigs)
	r.create()
	r.start("a", "b")
	r.equal("content", r.sh("a", "cat /etc/deep/app.json /variable"), "one $xgiven")
	r.equal("owner and mode", r.sh("a", "stat -c '%u %g %a' /etc/deep/app.json /variable"), "1000 1001 600\n0 0 444")
	a, b := r.container("a"), r.container("b")
	r.must(r.engine.Restart(t.Context(), a.ID, 0))
	r.equal("after a restart", r.sh("a", "cat /etc/deep/app.json"), "one $x")
	r.create()
	r.equal("an idle create leaves it", r.container("a").ID, a.ID)
	r.load(strings.Replace(withConfigs, "one", "two", 1))
	r.create()
	r.equal("b is not concerned", r.container("b").Instance, b.Instance)
	r.start("a")
	r.equal("new content", r.sh("a", "cat /etc/deep/app.json"), "two $x")
}

func TestConfigsOfAnInterruptedCreateArePlaced(t *testing.T) {
	r := newRig(t, withConfigs)
	program, err := keeper.Program(r.engine.info.Arch)
	r.must(err)
	r.must(r.engine.compose.Create(t.Context(), r.project.forEngine(program, r.engine.noswap), createOptions)) // killed here
	r.create()
	r.start("a")
	r.equal("content", r.sh("a", "cat /variable"), "given")
}
