// Package launchd is minibot's side of macOS's launchd: the LaunchAgent com.minibot and the program launchctl.
//
// It owns the property list, which is com.minibot.plist of this folder with an installation's paths in it; reading and
// checking the property lists of other agents; and a client of launchctl that says in errors of its own what went wrong.
// [Manager] puts these together: it loads the agent, unloads it, starts it anew and tells its state.
//
// It guarantees that a property list is decoded, set and encoded, never put together as text; that each call of launchctl
// ends by its deadline; that answers it does not know are errors; and that what launchctl printed is in no error.
//
// It never writes or removes a file, needs no root, and touches no domain but gui/UID (to enable a label without a desktop
// session also user/UID). It builds and runs on every system: launchdtest has a launchd to test against.
package launchd

import (
	_ "embed" // com.minibot.plist
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"howett.net/plist"

	"minibot/hint"
)

// Label is the name of minibot's LaunchAgent; its file is Label + ".plist".
const Label = "com.minibot"

// Names of the files in the log folder that launchd opens as stdout and stderr of minibotd. launchd keeps them open, so they
// can be truncated and not renamed.
const (
	OutLog = "minibotd.out.log"
	ErrLog = "minibotd.err.log"
)

//go:embed com.minibot.plist
var template []byte

// Settings are what differs between installations. All are absolute paths.
type Settings struct {
	Program  string // minibotd
	Home     string // MINIBOT_HOME
	UserHome string // the user's home folder
	LogDir   string // the folder of OutLog and ErrLog; launchd does not make it
}

// Path returns the PATH of the agent: the folders of Homebrew and of the engines' own programs, then launchd's default.
func (s Settings) Path() string {
	return strings.Join([]string{
		"/opt/homebrew/bin", "/usr/local/bin",
		filepath.Join(s.UserHome, ".docker", "bin"), filepath.Join(s.UserHome, ".orbstack", "bin"),
		"/Applications/Docker.app/Contents/Resources/bin",
		"/usr/bin", "/bin", "/usr/sbin", "/sbin",
	}, ":")
}

// PlistPath returns where the agent's file lies when nobody says otherwise: ~/Library/LaunchAgents/com.minibot.plist.
func (s Settings) PlistPath() string {
	return filepath.Join(s.UserHome, "Library", "LaunchAgents", Label+".plist")
}

// Render returns the property list of the agent, as XML. The same settings give the same bytes. Paths must be absolute and
// printable; they may hold spaces, quotes, umlauts, "&", "<" and ">", and what a shell would expand is taken as it is.
func Render(s Settings) ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("make the property list: %w", err)
	}
	keys, err := decode(template)
	if err != nil {
		return nil, fmt.Errorf("make the property list: %w", err)
	}
	keys["ProgramArguments"] = []any{filepath.Clean(s.Program), "run"}
	keys["EnvironmentVariables"] = map[string]any{"PATH": s.Path(), "MINIBOT_HOME": filepath.Clean(s.Home)}
	keys["WorkingDirectory"] = filepath.Clean(s.UserHome)
	keys["StandardOutPath"] = filepath.Join(s.LogDir, OutLog)
	keys["StandardErrorPath"] = filepath.Join(s.LogDir, ErrLog)
	out, err := plist.MarshalIndent(keys, plist.XMLFormat, "\t")
	if err != nil {
		return nil, fmt.Errorf("make the property list: %w", err)
	}
	return append(out, '\n'), nil
}

// validate joins every fault of the settings.
func (s Settings) validate() error {
	var faults []error
	for _, setting := range []struct{ name, path string }{
		{"the program", s.Program}, {"MINIBOT_HOME", s.Home}, {"the user's home folder", s.UserHome}, {"the log folder", s.LogDir},
	} {
		if err := validPath(setting.path); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", setting.name, err))
		}
	}
	if strings.ContainsRune(s.UserHome, ':') {
		faults = append(faults, errors.New("the user's home folder: a colon in it cannot be in PATH"))
	}
	return errors.Join(faults...)
}

// validPath tells whether a path can be in a property list and mean the same to launchd.
func validPath(path string) error {
	switch {
	case path == "":
		return errors.New("it is empty")
	case !utf8.ValidString(path):
		return hint.Wrap(errors.New("its name is not valid UTF-8, which a property list cannot hold"), "rename it")
	case strings.ContainsFunc(path, unprintable):
		return hint.Wrap(errors.New("its name has a control character, which a property list cannot hold"), "rename it")
	case !filepath.IsAbs(path):
		return hint.Wrap(errors.New("it is not an absolute path; launchd expands neither ~ nor $HOME"), "write it out, beginning with /")
	}
	return nil
}

// unprintable tells what XML 1.0 cannot hold (control characters, U+FFFE, U+FFFF) or a terminal would obey. U+FFFD is what a
// name becomes on its way through something that could not hold it.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r == 0xfffd || r == 0xfffe || r == 0xffff || unicode.Is(unicode.Bidi_Control, r) || r == 0x2028 || r == 0x2029
}
