package supervisor

import (
	"context"
	"time"
)

const (
	// paceEvery is the least time between two looks when one event follows another: a look at 20 containers costs the engine 5 ms of a processor
	// (measured on 20.10), and it is busy then.
	paceEvery = 50 * time.Millisecond
	// paceShare is how many times as long as the look itself that time is at least: an engine that is slow, or has many containers, is not
	// kept from its work by those who watch it.
	paceShare = 4
	// paceBurst is the credit of looks that need not wait, so that only a storm of events is slowed down.
	paceBurst = time.Second
)

// pace spreads the looks of a storm. The zero value is ready; it belongs to the loop's goroutine.
type pace struct{ paid time.Time } // until when the looks so far are paid for

// wait returns when the next look may begin after one that took some time, at once unless there were many. It ends early when the stream
// has ended.
func (p *pace) wait(ctx context.Context, ended <-chan struct{}, took time.Duration) error {
	now := time.Now()
	if p.paid.Before(now) {
		p.paid = now
	}
	p.paid = p.paid.Add(max(paceEvery, min(paceShare*took, paceBurst)))
	early := p.paid.Sub(now) - paceBurst
	if early <= 0 {
		return nil
	}
	timer := time.NewTimer(early)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
