package main

import (
	"context"

	"minibot/config"
	"minibot/doctor"
	installer "minibot/install" // the tests have an install of their own
)

// startsAtLogin is what starts minibotd at login on this machine, or nil: there may be nothing that could.
func startsAtLogin(ctx context.Context, paths config.Paths, self string) doctor.Agent {
	program, err := installer.Program(self)
	if err != nil { // it cannot be installed from where it is, but what is installed can be looked at
		program = self
	}
	manager, err := installer.Choose(ctx, paths, program)
	if err != nil { // a nil pointer is no nil interface
		return nil
	}
	return manager
}
