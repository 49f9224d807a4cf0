package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
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

// TestMacShapedEngine runs the vertical where a Mac would: in an engine whose containers cannot be reached, whose bind
// mounts see another file system, and of which only the socket and the published ports come through.
func TestMacShapedEngine(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(cacheDir(t), "private-trixie")
	engine := script(t, "engine", "--private", dir, "--release", "trixie")
	t.Cleanup(func() { script(t, "engine", "--private", dir, "--stop") })
	script(t, "images", "--load", engine)
	in, gateway := shipped(t, engine)
	namespace, err := os.Open(filepath.Join(dir, "run", "netns"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = namespace.Close() }) // read only
	forward(t, namespace, gateway)
	in.start()
	in.healthy(3 * time.Minute)
	address := strings.TrimSpace(in.docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", in.container("postgres")))
	if conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, "5432"), 2*time.Second); err == nil {
		_ = conn.Close()
		t.Errorf("%s can be reached: this engine is not like a Mac's", address)
	}
	if out := in.docker("run", "--rm", "--network=none", "--entrypoint=find", "-v", in.home+":/h", image("MINIBOT_REDIS_IMAGE"), "/h", "-type", "f"); out != "" {
		t.Errorf("a bind mount sees this machine's files: %s", out)
	}
	in.vertical(gateway)
}

// forward passes connections to a loopback port on to the same port in another network namespace.
func forward(t *testing.T, namespace *os.File, port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // ends the loop
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				inner, err := dialIn(namespace, "127.0.0.1:"+port)
				if err != nil {
					return // the client sees a closed connection
				}
				defer inner.Close()
				var both errgroup.Group
				both.Go(func() error { _, err := io.Copy(inner, conn); _ = inner.(*net.TCPConn).CloseWrite(); return err })
				both.Go(func() error { _, err := io.Copy(conn, inner); _ = conn.(*net.TCPConn).CloseWrite(); return err })
				_ = both.Wait() // a broken connection is the client's to notice
			}()
		}
	}()
}
