package main

import (
	"context"
	"os"
	"runtime"

	"minibot/config"
	"minibot/doctor"
	"minibot/launchd"
)

// startsAtLogin is what starts minibotd at login on this machine, or nil.
func startsAtLogin(_ context.Context, paths config.Paths, program string) doctor.Agent {
	home, err := os.UserHomeDir()
	if err != nil || runtime.GOOS != "darwin" {
		return nil
	}
	return &launchd.Manager{
		Launchctl: launchd.Launchctl{UID: os.Getuid()},
		Settings:  launchd.Settings{Program: program, Home: paths.Home, UserHome: home, LogDir: paths.LogDir},
	}
}
