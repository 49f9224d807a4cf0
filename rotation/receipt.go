package rotation

import (
	"time"

	"minibot/secrets"
)

// What a rotation came to.
const (
	OutcomeDone       = "done"
	OutcomeRolledBack = "rolled-back"
	OutcomeUnfinished = "unfinished" // it goes on, or the next start carries it on
)

// Why a rotation was made.
const (
	KindSet      = "set"      // a person gave the value
	KindRotate   = "rotate"   // the value was made here
	KindRollback = "rollback" // to the previous value
	KindPending  = "pending"  // the value was stored while no daemon ran
	KindByHand   = "by-hand"  // the value was changed in the store itself
	KindRehearse = "rehearse" // on a throwaway credential
)

// Receipt is what the journal tells of one rotation.
type Receipt struct {
	ID      string
	Kind    string // see the Kind constants
	By      string // who asked for it
	Secrets []secrets.Name
	Began   time.Time
	Ended   time.Time // of an unfinished one: when it took its last step
	Outcome string    // see the Outcome constants
	Reason  string    // why it was rolled back; redacted
	Steps   []StepTaken
}

// StepTaken is one step of a rotation.
type StepTaken struct {
	Step    Step
	Secret  secrets.Name
	Service string
	Began   time.Time
	Took    time.Duration // until the next step; never negative, even where the clock was set back
}

// Receipts reads the journal at path, where no daemon holds it, together with the part before that was put away. There
// being none is no error.
func Receipts(path string) ([]Receipt, error) {
	var all []record
	for _, file := range []string{path + ".1", path} {
		records, _, err := readJournal(file)
		if err != nil {
			return nil, err
		}
		all = append(all, records...)
	}
	return receipts(all), nil
}

// receipts folds records into one receipt for each rotation.
func receipts(records []record) []Receipt {
	var all []Receipt
	for _, r := range records {
		if r.Step == StepBegin {
			all = append(all, Receipt{ID: r.ID, Kind: r.Kind, By: r.By, Secrets: names(r.Items), Began: r.Time, Outcome: OutcomeUnfinished})
			if r.Secret != "" {
				all[len(all)-1].Secrets = []secrets.Name{r.Secret}
			}
		}
		if len(all) == 0 || all[len(all)-1].ID != r.ID {
			continue // its beginning was put away
		}
		now := &all[len(all)-1]
		now.Ended = r.Time
		if last := len(now.Steps) - 1; last >= 0 {
			now.Steps[last].Took = max(r.Time.Sub(now.Steps[last].Began), 0)
		}
		switch r.Step {
		case StepBegin:
		case StepEnd:
			now.Outcome, now.Reason = r.Outcome, r.Reason
		default:
			now.Steps = append(now.Steps, StepTaken{Step: r.Step, Secret: r.Secret, Service: r.Service, Began: r.Time})
		}
	}
	return all
}

// names are the secrets that a person knows of.
func names(items []entry) []secrets.Name {
	var all []secrets.Name
	for _, i := range items {
		if i.Companion == "" {
			all = append(all, i.Name)
		}
	}
	return all
}
