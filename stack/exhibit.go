package stack

import "io"

// Exhibit is one thing on the engine that a secret might have leaked into, as text to search.
type Exhibit struct {
	Kind    string    // "inspect", "exec", "layer", "log", "image-history"...
	Object  string    // "container NAME", "image NAME", "volume NAME", "network NAME"
	Project string    // the compose project it belongs to; "" for none
	Service string    // of the project
	Part    string    // "Config.Env[2]" for a leaf of an inspect; the path of a changed file; "" otherwise
	Body    io.Reader // valid during the visit only; a stream, never held in memory as a whole
}

// Posture is how a container runs.
type Posture struct {
	ID      string // of the container, in full
	Name    string
	Project string
	Service string
}
