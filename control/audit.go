package control

import "minibot/secrets"

// Severity says how bad a [Finding] is.
type Severity string

// The severities. High and medium ones make an audit fail; a note is worth knowing and no more.
const (
	SeverityHigh   Severity = "high"   // a live value lies where others, or a backup, can read it
	SeverityMedium Severity = "medium" // a former value does, or a door stands open
	SeverityNote   Severity = "note"   // known and accepted, or not to be told from here
)

// Finding is one leak or weakness that an audit found. It never holds a value, nor a part of one.
type Finding struct {
	Code     string       `json:"code"` // such as "exposed-secret"; stable, for scripts
	Severity Severity     `json:"severity"`
	Secret   secrets.Name `json:"secret,omitempty"`
	Slot     string       `json:"slot,omitempty"`    // which of the secret's values: current, pending, previous
	Form     string       `json:"form,omitempty"`    // how it is written: plain, base64, hex, url
	Place    string       `json:"place"`             // such as "container minibot-redis, Config.Env[2]" or a file's path
	Service  string       `json:"service,omitempty"` // of the project
	Message  string       `json:"message"`
	Hint     string       `json:"hint,omitempty"` // what to do, with the command
}
