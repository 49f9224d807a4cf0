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
	Initial     string        // what it holds at first, where that is no secret; empty: nothing until it is set or made
}

// Recipe says how a value is generated.
type Recipe struct {
	Length int // characters of A-Z, a-z and 0-9; at least 16
}

// Rotation says where a secret lives beside the store. The zero Rotation is a secret that its users merely read.
type Rotation struct {
	Driver   string   // "postgres", "redis", "openclaw", "exec", or "" for none
	Service  string   // the service that holds the credential
	User     string   // the database's user; "" is the driver's default
	Database string   // the database to connect to; "" is the driver's default
	Command  []string // of the driver exec: what is run in the service's container
	Overlaps bool     // of the driver exec: the command keeps the former value valid beside the next one until it is told to end it
	// Roles are two login roles of Postgres that take turns: the next password is always the other one's, so that
	// both are good for a while. Owner is the role they are members of. Empty: User alone.
	Roles []string
	Owner string
	// UserName is the secret that holds which of Roles logs in with this one; it changes together with it.
	UserName Name
}

// InDatabase reports whether the secret's value lives inside a service's own data, so that a new one waits in Pending until
// the service has accepted it.
func (r Rotation) InDatabase() bool { return r.Driver != "" && r.Driver != "openclaw" }
