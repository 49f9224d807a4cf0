package control

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"minibot/secrets"
)

// Order is what a request to change something says beside its content.
type Order struct {
	By     string `json:"by,omitempty"`      // who wants it, for the receipt; what the client says
	NoWait bool   `json:"no_wait,omitempty"` // fail with ErrBusy while another change is under way, rather than wait for it
}

// ChangeOrder is the body of POST /v1/secrets: changes that come into force as one.
type ChangeOrder struct {
	Changes []Change `json:"changes"`
	Order
}

// Rotation is the body of POST /v1/rotations: new values, made by the daemon, for secrets that have one. Exactly one of
// Names, All and Due is set.
type Rotation struct {
	Names    []secrets.Name `json:"names,omitempty"`
	All      bool           `json:"all,omitempty"`      // each that minibot can make a value for
	Due      bool           `json:"due,omitempty"`      // of these, each that is due or overdue
	Rehearse bool           `json:"rehearse,omitempty"` // the whole sequence on a throwaway role and value
	Rollback bool           `json:"rollback,omitempty"` // to the previous value, of Names
	Order
}

// Plan is the answer of GET /v1/plan: what a rotation would do now. Secrets are ordered by name; steps and services stand in
// the order in which things happen. Nothing changes by asking.
type Plan struct {
	Secrets    []PlannedSecret  `json:"secrets"`
	Steps      []PlannedStep    `json:"steps"`
	Services   []PlannedService `json:"services"`
	LastTookMS float64          `json:"last_took_ms"` // of the last rotation of the same secrets, in milliseconds; 0 where there was none
	Notes      []string         `json:"notes"`        // what a person has to know or do beside it
}

// PlannedSecret is one secret of a plan. One that is not Generated is left out of the rotation: a person has to set it.
type PlannedSecret struct {
	Name      string     `json:"name" redact:"name"`
	Driver    string     `json:"driver,omitempty"`  // of what holds it; "" where its users merely read it
	Service   string     `json:"service,omitempty"` // that holds it
	Generated bool       `json:"generated"`
	Overlaps  bool       `json:"overlaps"` // the old value stays valid until its users have the new one
	How       string     `json:"how"`      // in words
	Changed   *time.Time `json:"changed"`  // nil when not set
	Due       *time.Time `json:"due"`      // as in Secret
	Age       string     `json:"age,omitempty"`
	RevokeURL string     `json:"revoke_url,omitempty"`
}

// PlannedStep is one step of a plan. Secret and Service are "" where it concerns all of them.
type PlannedStep struct {
	Step    string  `json:"step"`
	Secret  string  `json:"secret,omitempty" redact:"name"`
	Service string  `json:"service,omitempty"`
	Effect  string  `json:"effect"`
	LastMS  float64 `json:"last_ms"` // how long it took last time, in milliseconds; 0 where that is not known
}

// PlannedService is one service that a rotation touches. How is "restart", "recreate", "signal", "exec", "openclaw" or "none".
type PlannedService struct {
	Name    string   `json:"name"`
	How     string   `json:"how"`
	Secrets []string `json:"secrets" redact:"name"` // of the plan, that it takes; none where it follows a service that it depends on
}

// Receipt says how one change went: GET /v1/history. Kind is "set", "rotate", "rollback", "rehearse", "pending", "by-hand" or
// "compromised"; Outcome "done", "rolled-back" or "unfinished".
type Receipt struct {
	ID      string        `json:"id"`
	Kind    string        `json:"kind"`
	Secrets []string      `json:"secrets" redact:"name"`
	By      string        `json:"by,omitempty"`
	Began   time.Time     `json:"began"`
	Ended   time.Time     `json:"ended"` // of an unfinished one: when its last step began
	TookMS  float64       `json:"took_ms"`
	Outcome string        `json:"outcome"`
	Reason  string        `json:"reason,omitempty"` // why it was not done
	Hint    string        `json:"hint,omitempty"`
	Steps   []ReceiptStep `json:"steps"`
}

// ReceiptStep is one step of a receipt.
type ReceiptStep struct {
	Step    string    `json:"step"`
	Secret  string    `json:"secret,omitempty" redact:"name"`
	Service string    `json:"service,omitempty"`
	Began   time.Time `json:"began"`
	TookMS  float64   `json:"took_ms"`
}

// The kinds and outcomes of a Receipt.
const (
	KindSet         = "set"
	KindRotate      = "rotate"
	KindRollback    = "rollback"
	KindRehearse    = "rehearse"
	KindPending     = "pending"
	KindByHand      = "by-hand"
	KindCompromised = "compromised"

	OutcomeDone       = "done"
	OutcomeRolledBack = "rolled-back"
	OutcomeUnfinished = "unfinished"
)

const maxBy = 64

// byPattern holds no control character, and maxBy leaves no room for a long value.
var byPattern = regexp.MustCompile(`^[A-Za-z0-9 ._@:/()-]*$`)

func (o Order) check() error {
	if len(o.By) > maxBy || !byPattern.MatchString(o.By) {
		return fmt.Errorf("%w: who asks is said in up to 64 of A-Z, a-z, 0-9, blank and ._@:/()-", ErrUsage)
	}
	return nil
}

func (o ChangeOrder) check() error {
	if err := checkChanges(o.Changes); err != nil {
		return err
	}
	return o.Order.check()
}

// check says what is wrong with r, wrapping ErrUsage or ErrInvalidName. Whether a name exists is the backend's to know.
func (r Rotation) check() error {
	ways := 0
	for _, chosen := range []bool{len(r.Names) > 0, r.All, r.Due} {
		if chosen {
			ways++
		}
	}
	switch {
	case ways != 1:
		return fmt.Errorf("%w: a rotation wants names, or all, or what is due", ErrUsage)
	case r.Rollback && len(r.Names) == 0:
		return fmt.Errorf("%w: a rollback wants names", ErrUsage)
	case r.Rollback && r.Rehearse:
		return fmt.Errorf("%w: a rollback is not rehearsed", ErrUsage)
	}
	if err := checkNames(r.Names); err != nil {
		return err
	}
	return r.Order.check()
}

func checkNames(names []secrets.Name) error {
	seen := make(map[secrets.Name]bool, len(names))
	for _, given := range names {
		name, err := secrets.ParseName(string(given))
		if err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("%w: %s is there twice", ErrUsage, name)
		}
		seen[name] = true
	}
	return nil
}

// query is r as the query of GET /v1/plan.
func (r Rotation) query() url.Values {
	q := url.Values{"all": {strconv.FormatBool(r.All)}, "due": {strconv.FormatBool(r.Due)}, "rollback": {strconv.FormatBool(r.Rollback)}}
	for _, name := range r.Names {
		q.Add("name", string(name))
	}
	return q
}

// parseRotation reads the query of GET /v1/plan: name any number of times, the others at most once.
func parseRotation(r *http.Request) (Rotation, error) {
	var rotation Rotation
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return rotation, fmt.Errorf("%w: malformed query", ErrUsage)
	}
	flags := map[string]*bool{"all": &rotation.All, "due": &rotation.Due, "rollback": &rotation.Rollback}
	for key, given := range values {
		if key == "name" {
			for _, name := range given {
				rotation.Names = append(rotation.Names, secrets.Name(name))
			}
			continue
		}
		flag, known := flags[key]
		if !known || len(given) != 1 {
			return rotation, fmt.Errorf("%w: query has a key that is unknown or stands twice", ErrUsage)
		}
		if *flag, err = strconv.ParseBool(given[0]); err != nil {
			return rotation, fmt.Errorf("%w: query key %s has no valid value", ErrUsage, key)
		}
	}
	return rotation, rotation.check()
}
