package config

import (
	"errors"
	"strings"
	"testing"

	"minibot/hint"
)

// FuzzParse holds that a config.toml is either valid as a whole or an error that says so, with advice.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"store='age'\ncompose_file='/x/y.yaml'\ndocker_host='unix:///x'\nlog_level='debug'\n[env]\nTZ='UTC'", "a=1\n[env]\nX='1'\n[b]\nc=1",
		"store = ", "[env]\nA=1", "env.A=\"\\u0000\"", "docker_host='tcp://[::1'", "[[env]]", "env={a={b=1}}", "store=\"\"\"\n", "\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse("config.toml", text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || hint.Of(err) == "" {
				t.Errorf("%v, hint %q", err, hint.Of(err))
			}
			return
		}
		if err := c.Validate(); err != nil || c.Env == nil || strings.ContainsRune(c.ComposeFile, 0) {
			t.Errorf("%+v: %v", c, err)
		}
	})
}
