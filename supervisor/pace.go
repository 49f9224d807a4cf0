package supervisor

import (
	"context"
	"time"
)

const (
	// paceEvery is the time between two looks when one event follows another: a look costs the engine some milliseconds, and it is busy then.
	paceEvery = 25 * time.Millisecond
	// paceBurst is how many looks need not wait, so that only a storm of events is slowed down.
	paceBurst = 20
)

// pace spreads the looks of a storm. The zero value is ready; it belongs to the loop's goroutine.
type pace struct{ paid time.Time } // until when the looks so far are paid for

// wait returns when the next look may begin, at once unless there were many. It ends early when the stream has ended.
func (p *pace) wait(ctx context.Context, ended <-chan struct{}) error {
	now := time.Now()
	if p.paid.Before(now) {
		p.paid = now
	}
	p.paid = p.paid.Add(paceEvery)
	early := p.paid.Sub(now) - paceBurst*paceEvery
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
