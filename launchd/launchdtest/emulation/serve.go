package emulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Request is a command line: of launchctl, or one that only tests give, which begins with "@".
type Request struct {
	Args []string `json:"args"`
	Dir  string   `json:"dir"` // the caller's working folder
}

// Response is what launchctl prints and its exit status.
type Response struct {
	Exit   int    `json:"exit"`
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

// Exit statuses for "@fault" that are none.
const (
	FaultHang    = -1 // launchctl does not answer
	FaultGarbage = -2 // it prints something else and exits 0
)

// Serve listens until ctx is cancelled, then kills every agent and returns the first failure of the emulation itself. ready is
// called once launchctl can connect.
func (s *Server) Serve(ctx context.Context, ready func()) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", filepath.Join(s.config.Dir, SocketName))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(s.config.Dir, "T"), 0o700); err != nil {
		return fmt.Errorf("make TMPDIR: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	ready()
	for {
		conn, err := listener.Accept()
		if err != nil {
			break
		}
		s.running.Go(func() { s.answer(ctx, conn) })
	}
	s.mu.Lock()
	s.logout(true)
	s.mu.Unlock()
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.failed, s.log.Close())
}

// answer reads one request and answers it.
func (s *Server) answer(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	var request Request
	if json.NewDecoder(conn).Decode(&request) != nil {
		return // the caller was killed
	}
	response, hang := s.handle(request)
	if hang {
		_, _ = conn.Read(make([]byte, 1)) // until the caller is gone
		return
	}
	_ = json.NewEncoder(conn).Encode(response) // the caller may be gone
}

func (s *Server) handle(request Request) (response Response, hang bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	args := request.Args
	if len(args) > 0 && strings.HasPrefix(args[0], "@") {
		return s.control(args), false
	}
	verb := strings.Join(args[:min(1, len(args))], "")
	if exits := s.faults[verb]; len(exits) > 0 {
		s.faults[verb] = exits[1:]
		s.record(Event{Kind: EventCommand, Args: args, Exit: exits[0], Detail: "injected"})
		switch exits[0] {
		case FaultHang:
			return Response{}, true
		case FaultGarbage:
			return Response{Stdout: "launchctl: this version prints something else\n"}, false
		case exitInProgress: // seen with bootout, which goes on all the same
			s.launchctl(args, request.Dir)
		}
		return failure(verb, args[len(args)-1], exits[0]), false
	}
	response = s.launchctl(args, request.Dir)
	s.record(Event{Kind: EventCommand, Args: args, Exit: response.Exit})
	return response, false
}

// control does what a test orders.
func (s *Server) control(args []string) Response {
	switch {
	case args[0] == "@login":
		s.login()
	case args[0] == "@logout":
		s.logout(false)
	case args[0] == "@powercut":
		s.logout(true)
	case args[0] == "@fault" && len(args) == 4:
		exit, err := strconv.Atoi(args[2])
		times, timesErr := strconv.Atoi(args[3])
		if err != nil || timesErr != nil {
			return usage(args[0])
		}
		for range times {
			s.faults[args[1]] = append(s.faults[args[1]], exit)
		}
		if times == 0 {
			delete(s.faults, args[1])
		}
	default:
		return usage(args[0])
	}
	return Response{}
}

// Call gives a command line to the server of a folder.
func Call(dir string, request Request) (Response, error) {
	const answers = 5 * time.Second
	dialer := net.Dialer{Timeout: answers}
	conn, err := dialer.DialContext(context.Background(), "unix", filepath.Join(dir, SocketName))
	if err != nil {
		return Response{}, fmt.Errorf("call launchd: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return Response{}, fmt.Errorf("call launchd: %w", err)
	}
	var response Response
	if err := json.NewDecoder(conn).Decode(&response); err != nil {
		return Response{}, fmt.Errorf("call launchd: %w", err)
	}
	return response, nil
}

// Launchctl is the program launchctl: it gives its arguments to the server of dir and returns its exit status.
func Launchctl(dir string, args []string, stdout, stderr io.Writer) int {
	where, err := os.Getwd()
	if err != nil {
		where = "/"
	}
	response, err := Call(dir, Request{Args: args, Dir: where})
	if err != nil {
		response = Response{Exit: exitUnexpected, Stderr: "launchd is not running\n"}
	}
	_, _ = io.WriteString(stdout, response.Stdout)
	_, _ = io.WriteString(stderr, response.Stderr)
	return response.Exit
}
