// Package deploy holds the stack that minibot ships: its compose file. It says nothing about how the stack runs.
package deploy

import _ "embed" // for ComposeFile

// ComposeFile is compose.yaml, for a first installation.
//
//go:embed compose.yaml
var ComposeFile []byte
