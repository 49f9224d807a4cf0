package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"regexp"

	"minibot/hint"
)

// The store's key, in a file whose tables, if any, come after it; and where the first table begins.
var (
	storeLine  = regexp.MustCompile(`(?m)^([ \t]*store[ \t]*=[ \t]*)("[^"\n]*"|'[^'\n]*')`)
	firstTable = regexp.MustCompile(`(?m)^[ \t]*\[`)
)

// SetStore makes the file at path name another kind of store and leaves everything else in it as it is, comments too.
// Without the file it writes one with the defaults. A crash leaves the old file or the new one.
func SetStore(path, kind string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		c := Default()
		c.Store = kind
		return Write(path, c)
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	before, err := parse(path, string(text))
	if err != nil {
		return err
	}
	top := len(text)
	if table := firstTable.FindIndex(text); table != nil {
		top = table[0]
	}
	assignment := fmt.Sprintf("%q", kind)
	changed := "store = " + assignment + "\n" + string(text)
	if at := storeLine.FindSubmatchIndex(text[:top]); at != nil {
		changed = string(text[:at[4]]) + assignment + string(text[at[5]:])
	}
	before.Store = kind
	if after, err := parse(path, changed); err != nil || !reflect.DeepEqual(before, after) {
		return hint.Wrap(fmt.Errorf("%w: %s: store is written in a way that cannot be changed by a program", ErrInvalid, path), "write store = %s in %s yourself", assignment, path)
	}
	if err := ReplaceFile(path, []byte(changed)); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
