//go:build !crashpoints

package main

import (
	"minibot/rotation"
	"minibot/secrets/security"
)

// crashPoint returns nothing to do: only tests are built with crash points.
func crashPoint() func(rotation.Point) { return func(rotation.Point) {} }

// dieAt returns nothing to do: only tests are built with it.
func dieAt() func(point string) { return func(string) {} }

// securityProgram is the program security of macOS: only tests have another one.
func securityProgram() string { return security.DefaultProgram }

// crashOnSignal does nothing: only tests are built with it.
func crashOnSignal(*daemon) {}

// dieBefore does nothing: only tests are built with it.
func dieBefore(string) {}
