package control

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unicode"
)

// Version is the version of both programs, set when they are linked.
var Version = "dev"

// Wire is the version of what the two programs say to each other. It rises when one could misunderstand the other.
const Wire = 3

// The headers of every request and answer.
const (
	headerWire    = "Minibot-Wire"
	headerVersion = "Minibot-Version" // the program's name and version
)

// program is how this process names itself to the other side.
func program() string { return filepath.Base(os.Args[0]) + " " + Version }

func introduce(h http.Header, wire int, name string) {
	h.Set(headerWire, strconv.Itoa(wire))
	h.Set(headerVersion, name)
}

// checkWire returns an error that wraps ErrVersion unless both sides speak the same wire version.
func checkWire(client, clientWire, daemon, daemonWire string) error {
	if clientWire == daemonWire && clientWire != "" {
		return nil
	}
	return &Error{
		Code: CodeVersion,
		Message: fmt.Sprintf("%s speaks wire version %s, %s speaks %s",
			named(client, "a client"), named(clientWire, "none"), named(daemon, "the daemon"), named(daemonWire, "none")),
		HintMsg: "restart the daemon: " + restartCommand(),
	}
}

// named shortens what the other side says of itself to what fits a message.
func named(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), 64)], "?"))
}

func restartCommand() string {
	if runtime.GOOS == "darwin" {
		return "launchctl kickstart -k gui/$UID/com.minibot"
	}
	return "systemctl --user restart minibot"
}

func startCommand() string {
	if runtime.GOOS == "darwin" {
		return "launchctl kickstart gui/$UID/com.minibot"
	}
	return "systemctl --user start minibot"
}
