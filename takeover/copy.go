package takeover

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"minibot/hint"
)

// layout says how a folder that comes as a tar stream is to lie in its new place.
type layout struct {
	root     string // the folder's path in the written stream
	uid, gid int    // everything's owner
	rootMode int64  // of the folder; 0 keeps it
	keeps    func(name string) bool
	renames  map[string]string
	last     string // a small file that is written at the end: without it the data are none
	extra    map[string]string
	links    bool // symbolic links may be in it
}

// entry is one file as it is to be in its new place.
type entry struct {
	kind     byte
	mode     int64
	uid, gid int
	size     int64
	sum      [sha256.Size]byte
	link     string
}

// manifest is what lies below a folder, by its path in it; the folder itself is "".
type manifest map[string]entry

// files counts the regular files and their bytes.
func (m manifest) files() (count int, size int64) {
	for _, e := range m {
		if e.kind == tar.TypeReg {
			count, size = count+1, size+e.size
		}
	}
	return count, size
}

// maxLast bounds the file that is kept back, in bytes.
const maxLast = 4096

var errLink = errors.New("a part of the data lies elsewhere, behind a symbolic link")

// rewrite passes a folder's stream on as the layout has it, and returns what it wrote. each, called after every file, may end it.
func (l layout) rewrite(ctx context.Context, to io.Writer, from io.Reader, each func(written int64) error) (manifest, error) {
	in, out := tar.NewReader(from), tar.NewWriter(to)
	wrote, total := manifest{}, int64(0)
	var held *tar.Header
	var heldData []byte
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("read the old data: %w", err)
		}
		name, ok := l.place(header)
		if !ok {
			continue
		}
		if header.Typeflag == tar.TypeSymlink && !l.links {
			return nil, hint.Wrap(fmt.Errorf("%s: %w", name, errLink), "move it into the data folder first: a tablespace with ALTER TABLE, or take a pg_dump")
		}
		if name == l.last && header.Typeflag == tar.TypeReg && header.Size <= maxLast {
			if heldData, err = io.ReadAll(in); err != nil {
				return nil, fmt.Errorf("read the old data: %w", err)
			}
			held = header
			continue
		}
		if wrote[name], err = l.write(out, header, name, in); err != nil {
			return nil, err
		}
		total += header.Size
		if err := each(total); err != nil {
			return nil, err
		}
	}
	for name, text := range l.extra {
		e, err := l.write(out, &tar.Header{Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(text))}, name, strings.NewReader(text))
		if err != nil {
			return nil, err
		}
		wrote[name] = e
	}
	if held != nil {
		e, err := l.write(out, held, l.last, bytes.NewReader(heldData))
		if err != nil {
			return nil, err
		}
		wrote[l.last] = e
	}
	if len(wrote) == 0 {
		return nil, errors.New("there is nothing in the old data folder")
	}
	return wrote, out.Close() // a reader that has what it wants may not wait for the end marker
}

// place is where an entry of the old folder goes; what is neither a file, a folder nor a link, such as a socket, goes nowhere.
func (l layout) place(header *tar.Header) (string, bool) {
	name := within(header.Name)
	switch header.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink:
	case tar.TypeLink:
		header.Linkname = within(header.Linkname)
	default:
		return "", false
	}
	if l.keeps != nil && !l.keeps(name) {
		return "", false
	}
	if other, ok := l.renames[name]; ok {
		name = other
	}
	return name, true
}

// within is the name of an entry without the folder's own, with which an engine begins each of them.
func within(name string) string {
	_, below, _ := strings.Cut(strings.TrimPrefix(name, "./"), "/")
	return strings.TrimSuffix(below, "/")
}

func (l layout) write(out *tar.Writer, from *tar.Header, name string, body io.Reader) (entry, error) {
	header := tar.Header{Typeflag: from.Typeflag, Name: path.Join(l.root, name), Mode: from.Mode & 0o1777, Uid: l.uid, Gid: l.gid, ModTime: from.ModTime}
	e := entry{kind: header.Typeflag, uid: l.uid, gid: l.gid}
	switch header.Typeflag {
	case tar.TypeReg:
		header.Size, e.size = from.Size, from.Size
	case tar.TypeDir:
		header.Name += "/"
		if name == "" && l.rootMode != 0 {
			header.Mode = l.rootMode
		}
	case tar.TypeSymlink:
		header.Linkname, e.link = from.Linkname, from.Linkname
	case tar.TypeLink:
		header.Linkname = path.Join(l.root, from.Linkname)
	}
	e.mode = header.Mode
	if err := out.WriteHeader(&header); err != nil {
		return entry{}, fmt.Errorf("write the copy: %w", err)
	}
	sum := sha256.New()
	if header.Typeflag == tar.TypeReg {
		if _, err := io.Copy(io.MultiWriter(out, sum), body); err != nil {
			return entry{}, fmt.Errorf("write the copy: %w", err)
		}
	}
	copy(e.sum[:], sum.Sum(nil))
	return e, nil
}

// survey reads what lies in a folder that comes as a tar stream.
func survey(from io.Reader) (manifest, error) {
	in, found := tar.NewReader(from), manifest{}
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the copy: %w", err)
		}
		e := entry{kind: header.Typeflag, mode: header.Mode & 0o1777, uid: header.Uid, gid: header.Gid}
		sum := sha256.New()
		switch header.Typeflag {
		case tar.TypeReg:
			e.size = header.Size
			if _, err := io.Copy(sum, in); err != nil {
				return nil, fmt.Errorf("read the copy: %w", err)
			}
		case tar.TypeSymlink:
			e.link = header.Linkname
		}
		copy(e.sum[:], sum.Sum(nil))
		found[within(header.Name)] = e
	}
}

// compare says how a copy differs from what was written; exact has what is there besides count.
func compare(wrote, found manifest, exact bool) error {
	for name, want := range wrote {
		have, ok := found[name]
		if want.kind == tar.TypeLink || have.kind == tar.TypeLink { // which of its names is the first is the engine's choice
			have, want = entry{}, entry{}
		}
		if !ok || have != want {
			return fmt.Errorf("the copy differs from the old data at %q", name)
		}
	}
	if exact && len(found) != len(wrote) {
		return fmt.Errorf("the copy has %d entries where %d were written", len(found), len(wrote))
	}
	return nil
}
