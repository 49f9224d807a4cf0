package security

import (
	"bytes"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// answer is what one process said.
type answer struct {
	exit           int
	stdout, stderr []byte
}

// clear overwrites what may hold values.
func (a *answer) clear() { clear(a.stdout); clear(a.stderr) }

// outcome is how one command ended.
type outcome struct {
	command string
	status  int
	value   []byte // of a find-generic-password -g with status 0
}

var returned = regexp.MustCompile(`^(` + strings.Join([]string{commandList, commandDump, commandAdd, commandFind, commandDelete}, "|") + `): returned (-?[0-9]{1,10})$`)

// outcomes finds the commands that failed and the values that were printed, in order. Everything else on standard error is
// for people and may be translated. A value that cannot be decoded is a nil one.
func (a *answer) outcomes() []outcome {
	var all []outcome
	for line := range bytes.Lines(a.stderr) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if printed, ok := bytes.CutPrefix(line, []byte("password: ")); ok {
			value, _ := decodeBuffer(printed)
			all = append(all, outcome{command: commandFind, value: value})
		} else if m := returned.FindSubmatch(line); m != nil {
			if status, err := strconv.Atoi(string(m[2])); err == nil {
				all = append(all, outcome{command: string(m[1]), status: status})
			}
		}
	}
	return all
}

// status is that of the first failure of command, or else what the exit status tells of the last command.
func (a *answer) status(command string) int {
	for _, o := range a.outcomes() {
		if o.command == command && o.status != 0 {
			return o.status
		}
	}
	if status, ok := statuses[a.exit]; ok {
		return status
	}
	return a.exit
}

// decodeBuffer reads what print_buffer in keychain_utilities.c prints: nothing, "text", 0xHEX or 0xHEX  "text". It is never
// ambiguous: what is not printable, and the backslash, make it hex.
func decodeBuffer(printed []byte) ([]byte, bool) {
	if digits, ok := bytes.CutPrefix(printed, []byte("0x")); ok {
		digits, _, _ = bytes.Cut(digits, []byte(" "))
		value := make([]byte, hex.DecodedLen(len(digits)))
		if _, err := hex.Decode(value, digits); err != nil || len(value) == 0 {
			return nil, false
		}
		return value, true
	}
	if len(printed) == 0 {
		return []byte{}, true
	}
	if len(printed) < 2 || printed[0] != '"' || printed[len(printed)-1] != '"' {
		return nil, false
	}
	return bytes.Clone(printed[1 : len(printed)-1]), true
}

// attributes are what is printed of an item beside its value.
type attributes struct {
	class, service, account string
	changed                 time.Time // zero: not printed, or not understood
}

// items finds the attributes of the items that were printed, in order.
func (a *answer) items() []attributes {
	var all []attributes
	for line := range bytes.Lines(a.stdout) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if bytes.HasPrefix(line, []byte("keychain: ")) {
			all = append(all, attributes{})
			continue
		}
		if len(all) == 0 {
			continue
		}
		now := &all[len(all)-1]
		if printed, ok := bytes.CutPrefix(line, []byte("class: ")); ok {
			now.class = decodeText(printed)
		} else if printed, ok := bytes.CutPrefix(line, []byte(`    "svce"<blob>=`)); ok {
			now.service = decodeText(printed)
		} else if printed, ok := bytes.CutPrefix(line, []byte(`    "acct"<blob>=`)); ok {
			now.account = decodeText(printed)
		} else if printed, ok := bytes.CutPrefix(line, []byte(`    "mdat"<timedate>=`)); ok {
			now.changed = decodeTime(printed)
		}
	}
	return all
}

// decodeText is "" for what is not there or not understood; neither is a service or a name.
func decodeText(printed []byte) string {
	text, _ := decodeBuffer(printed)
	return string(text)
}

func decodeTime(printed []byte) time.Time {
	at, err := time.Parse("20060102150405Z", strings.TrimRight(decodeText(printed), "\x00"))
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}
