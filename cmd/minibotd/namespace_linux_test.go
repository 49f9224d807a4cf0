package main

import (
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// dialIn connects to an address inside another network namespace. Its thread is never given back: it stays there.
func dialIn(namespace *os.File, address string) (net.Conn, error) {
	type answer struct {
		conn net.Conn
		err  error
	}
	answers := make(chan answer)
	go func() {
		runtime.LockOSThread() // without unlock: the thread ends with the goroutine
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			answers <- answer{nil, err}
			return
		}
		conn, err := net.Dial("tcp4", address)
		answers <- answer{conn, err}
	}()
	a := <-answers
	return a.conn, a.err
}
