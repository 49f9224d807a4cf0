package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxEntries bounds the entries of folders that are looked at below one root.
const maxEntries = 200_000

var errTooMany = fmt.Errorf("only the first %d entries were looked at", maxEntries)

// fileID tells files apart, whatever their names.
type fileID struct{ dev, ino uint64 }

// file searches one regular file, through links too, once whatever it is called. It opens nothing else: a pipe or a device
// could block, or act. What is appended meanwhile is not read.
func (r *run) file(ctx context.Context, code, path string) error {
	if text := r.redactor.String(filepath.Base(path)); text != filepath.Base(path) {
		if err := r.search(ctx, place{code: "secret-in-name", name: path}, strings.NewReader(filepath.Base(path))); err != nil {
			return err
		}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // or a link to nothing
		return nil
	case err != nil:
		r.incomplete(path, err)
		return nil
	case !info.Mode().IsRegular():
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // it may be another one by now
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.incomplete(path, err)
		}
		return nil
	}
	defer func() { _ = f.Close() }()
	info, err = f.Stat()
	if err != nil || !info.Mode().IsRegular() || !r.first(info) {
		return err
	}
	body := io.LimitReader(f, info.Size())
	if strings.HasSuffix(path, ".plist") {
		text, err := plistStrings(f)
		if err != nil {
			r.incomplete(path, err)
		}
		body = io.MultiReader(body, text)
	}
	return r.search(ctx, place{code: code, name: path}, body)
}

// first reports whether a file was not seen before.
func (r *run) first(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	id := fileID{uint64(st.Dev), st.Ino} //nolint:unconvert // its type differs between systems
	again := r.seen[id]
	r.seen[id] = true
	return !again
}

// tree goes through the files below root, depth folders deep. choose gives the code of a file, or "" for one that is not searched; of a
// folder it gives "" to stay out of it. A root that is not there has no files. Links to folders are not followed.
func (r *run) tree(ctx context.Context, root string, depth int, choose func(path string, dir bool) string) error {
	entries := 0
	var folder func(path string, depth int) error
	folder = func(path string, depth int) error {
		dir, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
				r.incomplete(path, err)
			}
			return nil
		}
		defer func() { _ = dir.Close() }()
		for {
			some, err := dir.ReadDir(256)
			for _, entry := range some {
				if entries++; entries > maxEntries {
					return errTooMany
				}
				if err := r.entry(ctx, filepath.Join(path, entry.Name()), entry, depth, choose, folder); err != nil {
					return err
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					r.incomplete(path, err)
				}
				return nil
			}
		}
	}
	err := folder(root, depth)
	if errors.Is(err, errTooMany) {
		r.incomplete(root, err)
		return nil
	}
	return err
}

func (r *run) entry(ctx context.Context, path string, entry fs.DirEntry, depth int, choose func(string, bool) string, folder func(string, int) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if entry.IsDir() {
		if depth == 0 || choose(path, true) == "" {
			return nil
		}
		return folder(path, depth-1)
	}
	code := choose(path, false)
	if code == "" || !entry.Type().IsRegular() && entry.Type() != fs.ModeSymlink {
		return nil
	}
	return r.file(ctx, code, path)
}
