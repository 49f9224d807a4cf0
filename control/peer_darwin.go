package control

import "golang.org/x/sys/unix"

// credentials returns who is at the other end of a connected unix socket, as the kernel noted it at connect. The pid
// is only for messages and 0 where the kernel does not tell it.
func credentials(fd int) (peer, error) {
	c, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return peer{}, err
	}
	pid, err := unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	if err != nil {
		pid = 0
	}
	return peer{uid: int(c.Uid), pid: pid}, nil
}
