package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"minibot/hint"
	"minibot/secrets"
)

// readEnvFile reads a regular file of at most maxInput bytes.
func readEnvFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not block
	if err != nil {
		return nil, fmt.Errorf("read the file: %w", err)
	}
	text, err := readRegular(f, path)
	return text, errors.Join(err, f.Close())
}

func readRegular(f *os.File, path string) ([]byte, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the file: %w", err)
	case !info.Mode().IsRegular():
		return nil, hint.Wrap(fmt.Errorf("%s is no regular file", path), "mb-secrets init - reads NAME=VALUE lines from stdin")
	case info.Size() > maxInput:
		return nil, fmt.Errorf("%s: %w: more than %d bytes", path, secrets.ErrTooLarge, maxInput)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxInput))
	if err != nil {
		return nil, fmt.Errorf("read the file: %w", err)
	}
	return text, nil
}

// overwriteAndRemove writes zeros over the file, to the disk, and removes it, if it still holds text and is no link.
func overwriteAndRemove(path string, text []byte) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return hint.Wrap(fmt.Errorf("%s is a symbolic link and stays", path), "give the file that it points to")
	}
	if err != nil {
		return fmt.Errorf("overwrite the file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	now, err := readRegular(f, path)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, text) {
		return hint.Wrap(fmt.Errorf("%s was changed meanwhile and stays", path), "mb-secrets import %s", path)
	}
	if _, err := f.WriteAt(make([]byte, len(text)), 0); err != nil {
		return fmt.Errorf("overwrite the file: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("overwrite the file: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the file, which holds zeros now: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("remove the file: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}
