package keychain

// Idle waits until no call holds a lane.
func Idle() {
	for _, l := range []lane{valueLane, attributeLane} {
		l <- struct{}{}
		<-l
	}
}
