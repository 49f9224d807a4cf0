package plan

import (
	"slices"
	"time"

	"minibot/control"
	"minibot/rotation"
	"minibot/secrets"
)

// Receipts says in control's terms what rotations did, newest last.
func Receipts(from []rotation.Receipt) []control.Receipt {
	list := make([]control.Receipt, 0, len(from))
	for _, r := range from {
		receipt := control.Receipt{ID: r.ID, Kind: r.Kind, Secrets: []string{}, By: r.By, Began: r.Began, Ended: r.Ended,
			TookMS: milliseconds(r.Ended.Sub(r.Began)), Outcome: r.Outcome, Reason: r.Reason, Steps: []control.ReceiptStep{}}
		for _, name := range r.Secrets {
			receipt.Secrets = append(receipt.Secrets, string(name))
		}
		for _, s := range r.Steps {
			receipt.Steps = append(receipt.Steps, control.ReceiptStep{Step: string(s.Step), Secret: string(s.Secret), Service: s.Service,
				Began: s.Began, TookMS: milliseconds(s.Took)})
		}
		if r.Outcome == rotation.OutcomeUnfinished {
			receipt.Hint = "minibotd status shows what is in the way; minibotd reload carries it on"
		}
		list = append(list, receipt)
	}
	return list
}

// Of returns the receipts that are about name, or all for "".
func Of(receipts []control.Receipt, name secrets.Name) []control.Receipt {
	if name == "" {
		return receipts
	}
	return slices.DeleteFunc(slices.Clone(receipts), func(r control.Receipt) bool { return !slices.Contains(r.Secrets, string(name)) })
}

// milliseconds is d, or 0 where the clock was set back meanwhile.
func milliseconds(d time.Duration) float64 {
	return float64(max(d, 0).Microseconds()) / 1000
}

// lastTook is how long the last rotation of exactly these secrets took that was carried to its end, in milliseconds, or 0.
func lastTook(receipts []control.Receipt, names []secrets.Name) float64 {
	want := make([]string, 0, len(names))
	for _, name := range names {
		want = append(want, string(name))
	}
	slices.Sort(want)
	for _, r := range slices.Backward(receipts) {
		if took(r) && len(want) > 0 && slices.Equal(slices.Sorted(slices.Values(r.Secrets)), want) {
			return r.TookMS
		}
	}
	return 0
}

// lastStep is how long a step took in the last rotation that had it, in milliseconds, or 0. The only step of its kind may
// be one of which a receipt does not say whom it concerned.
func lastStep(receipts []control.Receipt, s control.PlannedStep, only bool) float64 {
	like := func(planned, taken string) bool { return taken == planned || only && (taken == "" || planned == "") }
	for _, r := range slices.Backward(receipts) {
		if !took(r) {
			continue
		}
		for _, step := range r.Steps {
			if step.Step == s.Step && like(s.Service, step.Service) && like(s.Secret, step.Secret) {
				return step.TookMS
			}
		}
	}
	return 0
}

func took(r control.Receipt) bool {
	return r.Outcome == control.OutcomeDone && r.Kind != control.KindRehearse
}
