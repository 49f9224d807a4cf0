package secretservice

import (
	"context"
	"time"
)

// offerTimeout bounds how long Offered looks.
const offerTimeout = 2 * time.Second

// Offered reports within two seconds whether the session bus offers a keyring with a default collection, locked or not.
// Nobody is asked anything. Where the service is installed but does not run, the bus starts it for this, as it would for
// any program that asks for a secret.
func Offered(ctx context.Context, options Options) bool {
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	c, err := dial(ctx, options.withDefaults().BusAddress)
	if err != nil {
		return false
	}
	defer c.close()
	_, err = c.alias(ctx)
	return err == nil
}
