package control

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// attackVariable makes this program an attacker: "dial PATH", "silent N PATH", "dribble N PATH" or "listen PATH".
const attackVariable = "CONTROL_TEST_ATTACK"

// otherUID is a user that is nobody's.
const otherUID = 65534

func TestMain(m *testing.M) {
	if order := os.Getenv(attackVariable); order != "" {
		if err := attack(strings.Fields(order)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// attack is what the attacker does. It says what it got, or "ready" and then goes on until its stdin ends.
func attack(order []string) error {
	path := order[len(order)-1]
	count := 0
	if len(order) == 3 {
		if _, err := fmt.Sscan(order[1], &count); err != nil {
			return err
		}
	}
	switch order[0] {
	case "dial":
		conn, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		_, _ = io.WriteString(conn, "GET /v1/secrets/A HTTP/1.1\r\nHost: x\r\n"+wireHead+"\r\n") // refused or not, what is read counts
		b, _ := io.ReadAll(conn)
		fmt.Printf("read %d bytes\n", len(b))
		return nil
	case "listen":
		return eavesdrop(path)
	}
	for range count {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		if order[0] == "dribble" {
			go dribble(conn)
		}
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// dribble sends a request, a byte every 50 ms.
func dribble(conn net.Conn) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, c := range []byte(postHead + "Content-Length: 1000000\r\n\r\n" + strings.Repeat(" ", 10000)) {
		if _, err := conn.Write([]byte{c}); err != nil {
			return
		}
		<-tick.C
	}
}

// eavesdrop takes connections, lets all in, and says how much it was told.
func eavesdrop(path string) error {
	ln, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		b, _ := io.ReadAll(conn)
		fmt.Printf("read %d bytes\n", len(b))
	}
}

// attacker is this program as an attacker, perhaps as another user.
type attacker struct {
	*exec.Cmd
	t   *testing.T
	out *bufio.Reader
	in  io.WriteCloser
}

// startAttacker runs order as uid; only root can be another one.
func startAttacker(t *testing.T, uid int, order string) *attacker {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if uid != os.Geteuid() { // who cannot enter the folder that the program lies in
		binary, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		dir := shortDir(t)
		program = filepath.Join(dir, "attacker")
		if err := os.WriteFile(program, binary, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a := &attacker{Cmd: exec.CommandContext(t.Context(), program), t: t}
	a.Dir, a.Env, a.Stderr = "/", []string{attackVariable + "=" + order}, os.Stderr
	if uid != os.Geteuid() {
		a.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	out, err := a.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.out = bufio.NewReader(out)
	if a.in, err = a.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.Process.Kill() // it may have ended
		_ = a.Wait()
	})
	return a
}

// says waits for a line.
func (a *attacker) says(want string) {
	a.t.Helper()
	if line, err := a.out.ReadString('\n'); line != want+"\n" {
		a.t.Fatalf("the attacker says %q, want %q; %v", line, want, err)
	}
}
