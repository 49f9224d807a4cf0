//go:build tools

// Package compose pins the docker compose command that bench compares with.
package compose

import _ "github.com/docker/compose/v5/cmd"
