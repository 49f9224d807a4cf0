package takeover

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"minibot/hint"
)

// imageFacts is what is known of an image that runs Postgres.
type imageFacts struct {
	ref   string
	major string // of Postgres; "" for unknown
}

var (
	taggedMajor = regexp.MustCompile(`:(\d+)`)
	majorOnly   = regexp.MustCompile(`^\d+$`)
)

// factsOf takes the major version from the image's own word for it, or else from its tag.
func factsOf(ref, major string) imageFacts {
	f := imageFacts{ref: ref}
	if m := taggedMajor.FindStringSubmatch(ref); m != nil {
		f.major = m[1]
	}
	f.major = cmp.Or(major, f.major)
	return f
}

// alpine reports whether an image has musl as its C library, as far as its tag tells: text is sorted another way there than with
// glibc, so that an index on text that the one has made is wrong for the other.
func (f imageFacts) alpine() bool { return strings.Contains(f.ref, "alpine") }

// chooseImage says which image can run data of a major version: "" for the stack's own, now. old is the one that has run them so far; its ref
// is "" where no container tells.
func chooseImage(version string, now, old imageFacts) (ref, why string, err error) {
	if !majorOnly.MatchString(version) {
		return "", "", fmt.Errorf("the data are of Postgres %q, which is no version that can be adopted", version)
	}
	switch {
	case now.major == version && (old.ref == "" || old.alpine() == now.alpine()):
		return "", "", nil
	case old.ref != "" && old.major != "" && old.major != version:
		err := fmt.Errorf("the data are of Postgres %s, but the container that has them runs %s", version, old.major)
		return "", "", hint.Wrap(err, "see whether the container starts; minibot adopts data that its own image runs")
	case now.major == version:
		return old.ref, "the stack's image sorts text in another way, which would break indexes", nil
	case old.ref != "":
		return old.ref, fmt.Sprintf("the data are of Postgres %s, and the stack's image runs %s", version, cmp.Or(now.major, "another version")), nil
	}
	return "postgres:" + version + "-alpine", fmt.Sprintf("the data are of Postgres %s, and the stack's image runs %s", version, cmp.Or(now.major, "another version")), nil
}
