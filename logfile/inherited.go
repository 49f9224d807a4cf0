package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"minibot/config"
)

// keep is how much of what earlier runs left on a stream is kept, in bytes: a report of a crash has a few KiB, and an agent
// that fails at every start leaves one every ten seconds.
const keep = 256 << 10

// Leads reports whether stream is open on the regular file at path, as launchd opens the files that a LaunchAgent names.
func Leads(stream *os.File, path string) bool {
	if stream == nil {
		return false
	}
	open, err := stream.Stat()
	if err != nil || !open.Mode().IsRegular() {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(open, named)
}

// Trim empties the file at path, which stream is open on (see [Leads]), and keeps the end of what earlier runs wrote there,
// 256 KiB at most, in path with ".1" added, mode 0600. The file stays the same one, so whoever has it open goes on to
// write into it. Where path is another file than stream's nothing is done. On a full disk the end is lost, but the room is won.
func Trim(stream *os.File, path string) (err error) {
	if !Leads(stream, path) {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("shorten %s: %w", path, err)
		}
	}()
	if err := stream.Chmod(0o600); err != nil {
		return err
	}
	latest, err := end(path)
	if err != nil || len(latest) == 0 {
		return err
	}
	earlier, err := end(path + ".1")
	if err != nil {
		return err
	}
	kept := last(append(earlier, latest...))
	saved := config.ReplaceFile(path+".1", kept)
	if err := unix.Ftruncate(int(stream.Fd()), 0); err != nil {
		return errors.Join(saved, err)
	}
	if _, err := stream.Seek(0, io.SeekStart); err != nil { // without O_APPEND a hole would be left
		return errors.Join(saved, err)
	}
	if saved != nil {
		saved = config.ReplaceFile(path+".1", kept) // now that there may be room
	}
	return saved
}

// end returns the last bytes of a file, keep at most, and nothing where there is none.
func end(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(info.Size()-keep-1, 0) // one more, to see whether a line begins there
	text, err := io.ReadAll(io.NewSectionReader(f, from, keep+1))
	return text, err
}

// last returns the end of text, at most keep bytes, from the beginning of a line.
func last(text []byte) []byte {
	if len(text) <= keep {
		return text
	}
	text = text[len(text)-keep-1:]
	if begin := bytes.IndexByte(text, '\n') + 1; begin > 0 {
		return text[begin:]
	}
	return text[1:]
}
