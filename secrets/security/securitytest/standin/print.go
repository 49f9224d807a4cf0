package standin

import (
	"fmt"
	"io"
	"strings"
	"time"
)

func ascii(c byte) bool { return ' ' <= c && c <= '~' && c != '\\' }

// Buffer prints data as print_buffer in keychain_utilities.c does: in quotes when all of it is printable, or else as hex,
// followed by the quoted form when some of it is.
func Buffer(data []byte) string {
	var hex, text bool
	for _, c := range data {
		if ascii(c) {
			text = true
		} else {
			hex = true
		}
	}
	var out strings.Builder
	if hex {
		out.WriteString("0x")
		for _, c := range data {
			fmt.Fprintf(&out, "%02X", c)
		}
		if text {
			out.WriteByte(' ')
		}
		out.WriteByte(' ')
	}
	if text {
		out.WriteByte('"')
		for _, c := range data {
			if ascii(c) {
				out.WriteByte(c)
			} else {
				fmt.Fprintf(&out, "\\%03o", c)
			}
		}
		out.WriteByte('"')
	}
	return out.String()
}

// Attributes prints an item as print_keychain_item_attributes does.
func Attributes(out io.Writer, keychain string, item *Item) {
	text := func(s string) string {
		if s == "" {
			return "<NULL>"
		}
		return Buffer([]byte(s))
	}
	timeDate := func(t time.Time) string { return Buffer([]byte(t.UTC().Format("20060102150405Z") + "\x00")) }
	class := item.Class
	if class == "" {
		class = "genp"
	}
	lines := []string{
		"keychain: " + Buffer([]byte(keychain)), "version: 512", "class: " + Buffer([]byte(class)), "attributes:",
		"    0x00000007 <blob>=" + text(item.Label),
		"    0x00000008 <blob>=<NULL>",
		"    \"acct\"<blob>=" + text(item.Account),
		"    \"cdat\"<timedate>=" + timeDate(item.Created),
		"    \"crtr\"<uint32>=<NULL>",
		"    \"cusi\"<sint32>=<NULL>",
		"    \"desc\"<blob>=" + text(item.Kind),
		"    \"gena\"<blob>=" + text(item.Generic),
		"    \"icmt\"<blob>=" + text(item.Comment),
		"    \"invi\"<sint32>=<NULL>",
		"    \"mdat\"<timedate>=" + timeDate(item.Modified),
		"    \"nega\"<sint32>=<NULL>",
		"    \"prot\"<blob>=<NULL>",
		"    \"scrp\"<sint32>=<NULL>",
		"    \"svce\"<blob>=" + text(item.Service),
		"    \"type\"<uint32>=<NULL>",
	}
	_, _ = io.WriteString(out, strings.Join(lines, "\n")+"\n") // as the real one does it
}

// Only prints a value as "find-generic-password -w" does: as it is, or in hex when a byte of it is not printable.
func Only(value []byte) string {
	for _, c := range value {
		if c < ' ' || c > '~' {
			return fmt.Sprintf("%02x\n", value)
		}
	}
	return string(value) + "\n"
}
