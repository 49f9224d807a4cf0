package secrets

import "time"

// Requirement is one secret that the compose file declares: what it is for, who uses it, and how it may change.
type Requirement struct {
	Name        Name
	Description string        // one line for a person; may be empty
	UsedBy      []string      // services, sorted
	Generate    *Recipe       // how to make a value; nil when only a person can supply one
	Rotate      Rotation      // how a changed value comes into force
	MaxAge      time.Duration // when it is due; 0 means no limit
	RevokeURL   string        // where a person revokes it; may be empty
}

// Recipe says how a value is generated.
type Recipe struct {
	Length int // characters of A-Z, a-z and 0-9; at least 16
}

// Rotation says where a secret lives beside the store. The zero Rotation is a secret that its users merely read.
type Rotation struct {
	Driver   string // "postgres", "redis" or "" for none
	Service  string // the service that holds the credential
	User     string // the database's user; "" is the driver's default
	Database string // the database to connect to; "" is the driver's default
}

// InDatabase reports whether the secret's value lives inside a database, so that a new one waits in Pending until
// the database has accepted it.
func (r Rotation) InDatabase() bool { return r.Driver != "" }
