package audit

import "context"

// machine is what differs from system to system, and what a test puts something else in the place of.
type machine struct {
	// processes shows every process whose arguments can be read. Of those of other users nothing else can be.
	processes func(ctx context.Context, visit func(process) error) error
	// crashDirs are the folders of memory images and crash reports, of the machine and of a user.
	crashDirs func(userHome string) []string
	// swap says in what state the swap is.
	swap func() (swapState, error)
}

// process is one process as the system shows it.
type process struct {
	pid         int
	own         bool   // it is the user's
	name        string // of its program, as far as it can be told
	arguments   []byte // NUL between them
	environment []byte // NUL between them
	unread      error  // why the environment cannot be read
	container   string // the id of the container that it runs in, in full; "" for none
}

type swapState int

const (
	swapOff swapState = iota
	swapOn
	swapEncrypted // by the system, always
)
