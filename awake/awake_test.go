package awake

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A child that keeps ending is started ever more slowly; one that lasted is started again at once.
func TestRestartsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var runs atomic.Int64
		lasts := time.Duration(0)
		k := &Keeper{Log: slog.New(slog.NewTextHandler(&log, nil)), run: func(ctx context.Context) error {
			runs.Add(1)
			timer := time.NewTimer(lasts)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			return errors.New("run caffeinate: signal: killed")
		}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); k.Serve(ctx) }()
		after := func(d time.Duration, least, most int64) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			if n := runs.Swap(0); n < least || n > most {
				t.Errorf("%d runs in %v, want %d to %d", n, d, least, most)
			}
		}
		after(time.Minute, 6, 7) // after 1, 2, 4, 8, 16, 32 s
		after(time.Hour, 8, 10)
		after(24*time.Hour, 140, 145)
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings:\n%s", n, log.String())
		}
		lasts = time.Hour
		after(3*time.Hour, 2, 4)
		if n := strings.Count(log.String(), "level=WARN"); n < 3 || n > 4 {
			t.Errorf("%d warnings:\n%s", n, log.String())
		}
		cancel()
		<-ended
	})
}

func TestAMissingProgramIsOneWarning(t *testing.T) {
	var log bytes.Buffer
	k := &Keeper{Program: filepath.Join(t.TempDir(), "caffeinate"), PID: os.Getpid(), Log: slog.New(slog.NewTextHandler(&log, nil))}
	k.Serve(t.Context()) // returns by itself
	if strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "keep_awake = false") {
		t.Errorf("%s", log.String())
	}
}

// The stand-in is told whom to end with, is started again when it is killed, and ends with the context.
func TestChild(t *testing.T) {
	dir := t.TempDir()
	pipe, program := filepath.Join(dir, "pipe"), filepath.Join(dir, "caffeinate")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho $$ \"$@\" > "+pipe+"\nexec tail -f /dev/null\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	k := &Keeper{Program: program, PID: os.Getpid(), Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); k.Serve(ctx) }()
	var pids []int
	for range 2 {
		text, err := os.ReadFile(pipe) // waits for the child
		if err != nil {
			t.Fatal(err)
		}
		pid, arguments, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		if arguments != "-s -w "+strconv.Itoa(os.Getpid()) {
			t.Errorf("arguments %q", arguments)
		}
		n, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, n)
		if len(pids) == 1 {
			if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	<-ended
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("child %d is left: %v", pid, err)
		}
	}
}
