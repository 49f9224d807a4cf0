package stack

import (
	"maps"
	"reflect"
	"strings"
	"testing"

	"minibot/secrets"
)

const badRotate = badHead + "secrets:\n  a:\n    environment: A\n    x-minibot:\n      rotate:\n        service: web\n"

// badDrivers are more of badFiles: what does not go with a driver.
var badDrivers = map[string]struct{ text, message, hint string }{
	"openclaw without token": {badHead + "    x-minibot:\n      on_change: openclaw # here\n", "no secret has it", "driver: openclaw, service: web"},
	"openclaw of another":    {badHead + "    x-minibot:\n      on_change: openclaw # here\n  claw:\n    image: x\nsecrets:\n  a:\n    environment: A\n    x-minibot:\n      rotate: { driver: openclaw, service: claw }\n", "no secret has it", ""},
	"exec without command":   {strings.Replace(badRotate, "rotate:", "rotate: # here", 1) + "        driver: exec\n", "needs a command", ""},
	"exec's empty command":   {badRotate + "        driver: exec\n        command: [] # here\n", "needs a command, as a list", ""},
	"exec's command as text": {badRotate + "        driver: exec\n        command: rotate.sh # here\n", "rotate.command", ""},
	"command of redis":       {badRotate + "        driver: redis\n        command: [a] # here\n", "goes with driver: exec only", ""},
	"overlaps of redis":      {badRotate + "        driver: redis\n        overlaps: true # here\n", "goes with driver: exec only", ""},
	"user of openclaw":       {badRotate + "        driver: openclaw\n        user: a # here\n", "no user", ""},
	"database of exec":       {badRotate + "        driver: exec\n        command: [a]\n        database: a # here\n", "goes with driver: postgres only", ""},
}

func init() { maps.Copy(badFiles, badDrivers) }

func TestLoadDrivers(t *testing.T) {
	p := load(t, `
name: drivers
services:
  claw: { image: "claw:1", secrets: [TOKEN], x-minibot: { on_change: openclaw } }
  app: { image: "app:1", secrets: [KEY] }
secrets:
  TOKEN: { environment: TOKEN, x-minibot: { rotate: { driver: openclaw, service: claw } } }
  KEY: { environment: KEY, x-minibot: { rotate: { driver: exec, service: app, user: me, command: [rotate, "-v"], overlaps: true } } }
`)
	if got := p.Services["claw"].OnChange; got != "openclaw" {
		t.Errorf("on_change %q", got)
	}
	want := []secrets.Requirement{
		{Name: "KEY", UsedBy: []string{"app"}, MaxAge: defaultMaxAge, Rotate: secrets.Rotation{Driver: "exec", Service: "app", User: "me", Command: []string{"rotate", "-v"}, Overlaps: true}},
		{Name: "TOKEN", UsedBy: []string{"claw"}, MaxAge: defaultMaxAge, Rotate: secrets.Rotation{Driver: "openclaw", Service: "claw"}},
	}
	if !reflect.DeepEqual(p.Requirements, want) {
		t.Errorf("requirements:\n got %+v\nwant %+v", p.Requirements, want)
	}
}
