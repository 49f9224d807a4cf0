// Package deploy holds the stack that minibot ships: Postgres, Redis and OpenClaw.
//
// It owns compose.yaml, which is all of the stack's configuration, and guarantees that the file names no secret's value and takes
// none from an environment. It never loads or runs it.
package deploy

import _ "embed"

// ComposeFile is the shipped compose.yaml, as it is written into a new installation.
//
//go:embed compose.yaml
var ComposeFile []byte
