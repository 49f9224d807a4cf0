//go:build !crashpoints

package main

import "minibot/rotation"

// crashPoint returns nothing to do: only tests are built with crash points.
func crashPoint() func(rotation.Point) { return func(rotation.Point) {} }

// dieAt returns nothing to do: only tests are built with it.
func dieAt() func(point string) { return func(string) {} }

// standInOf returns the program: only tests have another one in its place.
func standInOf(program string) string { return program }

// crashOnSignal does nothing: only tests are built with it.
func crashOnSignal(*daemon) {}

// dieBefore does nothing: only tests are built with it.
func dieBefore(string) {}
