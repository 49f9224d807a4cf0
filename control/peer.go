package control

import (
	"errors"
	"fmt"
	"net"
)

// peer is the process at the other end of a connection.
type peer struct{ uid, pid int }

// peerOf asks the kernel who is at the other end of a unix connection.
func peerOf(conn net.Conn) (peer, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return peer{}, fmt.Errorf("ask for the peer: %T is no unix connection", conn)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return peer{}, fmt.Errorf("ask for the peer: %w", err)
	}
	var p peer
	var inner error
	err = raw.Control(func(fd uintptr) { p, inner = credentials(int(fd)) })
	if err = errors.Join(err, inner); err != nil {
		return peer{}, fmt.Errorf("ask for the peer: %w", err)
	}
	return p, nil
}
