package launchd_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"howett.net/plist"

	"minibot/hint"
	"minibot/launchd"
)

// example is what com.minibot.plist shows.
var example = launchd.Settings{
	Program: "/usr/local/bin/minibotd", Home: "/Users/you/minibot", UserHome: "/Users/you", LogDir: "/Users/you/Library/Logs/minibot",
}

// odd has all in its paths that XML, shells and terminals take for something else.
var odd = launchd.Settings{
	Program:  "/Volumes/Jörg & <Söhne>/it's \"here\"/$HOME/~/minibotd",
	Home:     "/Users/jörg/mini bot ]]> &amp; 機器",
	UserHome: "/Users/jörg",
	LogDir:   "/Users/jörg/Library/Logs/<mini>",
}

func render(t *testing.T, s launchd.Settings) []byte {
	t.Helper()
	data, err := launchd.Render(s)
	must(t, err)
	return data
}

// otherReader is plistutil, which shares no code with the library that the package uses. It reads the XML and writes the binary
// form, which has another parser.
func otherReader(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var keys map[string]any
	format, err := plist.Unmarshal(convert(t, data, "bin"), &keys)
	if err != nil || format != plist.BinaryFormat {
		t.Fatalf("plistutil made no binary property list: %v", err)
	}
	return keys
}

func convert(t *testing.T, data []byte, format string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "plistutil", "-f", format, "-i", "-", "-o", "-")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil || len(out) == 0 {
		t.Fatalf("plistutil: %d bytes, %v (scripts/prepare installs it)", len(out), err)
	}
	return out
}

func TestRenderIsWhatTheSecondReaderSees(t *testing.T) {
	keys := otherReader(t, render(t, odd))
	want := map[string]any{
		"Label":            "com.minibot",
		"ProgramArguments": []any{odd.Program, "run"},
		"EnvironmentVariables": map[string]any{
			"MINIBOT_HOME": odd.Home,
			"PATH": "/opt/homebrew/bin:/usr/local/bin:/Users/jörg/.docker/bin:/Users/jörg/.orbstack/bin:" +
				"/Applications/Docker.app/Contents/Resources/bin:/usr/bin:/bin:/usr/sbin:/sbin",
		},
		"WorkingDirectory":       odd.UserHome,
		"StandardOutPath":        odd.LogDir + "/minibotd.out.log",
		"StandardErrorPath":      odd.LogDir + "/minibotd.err.log",
		"RunAtLoad":              true,
		"KeepAlive":              true,
		"ThrottleInterval":       uint64(10),
		"ExitTimeOut":            uint64(60),
		"Umask":                  uint64(63),
		"LimitLoadToSessionType": "Aqua",
		"ProcessType":            "Interactive",
	}
	if !reflect.DeepEqual(keys, want) {
		t.Errorf("have %v\nwant %v", keys, want)
	}
}

// TestTheTextFileIsTheExample reads com.minibot.plist itself, comments and all, with both readers.
func TestTheTextFileIsTheExample(t *testing.T) {
	text, err := os.ReadFile("com.minibot.plist")
	must(t, err)
	differences, err := launchd.Differences(text, render(t, example))
	must(t, err)
	same(t, differences, nil)
	if other, rendered := otherReader(t, text), otherReader(t, render(t, example)); !reflect.DeepEqual(other, rendered) {
		t.Errorf("plistutil reads %v\nof what is rendered %v", other, rendered)
	}
	for _, fault := range launchd.Check(text) {
		t.Error(fault)
	}
	if bytes.ContainsAny(text[bytes.Index(text, []byte("<plist")):], "~$") {
		t.Error("something in it is to be expanded")
	}
}

func TestRenderedIsReadBack(t *testing.T) {
	data := render(t, odd)
	if !bytes.Equal(data, render(t, odd)) {
		t.Error("two renderings differ")
	}
	for _, fault := range launchd.Check(data) {
		t.Error(fault)
	}
	d, err := launchd.Read(data)
	must(t, err)
	if d.Label != launchd.Label || d.Program != odd.Program || !slices.Equal(d.Arguments, []string{"run"}) || d.Environment["MINIBOT_HOME"] != odd.Home ||
		d.Environment["PATH"] != odd.Path() || d.StandardErrorPath != filepath.Join(odd.LogDir, launchd.ErrLog) || !d.RunAtLoad || !d.KeepAlive ||
		d.Disabled || !slices.Equal(d.SessionTypes, []string{"Aqua"}) || d.WorkingDirectory != odd.UserHome {
		t.Errorf("%+v", d)
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		edit       func(*launchd.Settings)
		want, hint string
	}{
		"empty":         {func(s *launchd.Settings) { s.Program = "" }, "the program: it is empty", ""},
		"relative":      {func(s *launchd.Settings) { s.Home = "minibot" }, "MINIBOT_HOME: it is not an absolute path", "write it out"},
		"tilde":         {func(s *launchd.Settings) { s.LogDir = "~/Library/Logs" }, "the log folder: it is not an absolute path; launchd expands neither ~ nor $HOME", "write it out"},
		"variable":      {func(s *launchd.Settings) { s.UserHome = "$HOME" }, "the user's home folder: it is not an absolute path", "write it out"},
		"invalid UTF-8": {func(s *launchd.Settings) { s.Home = "/Users/j\xf6rg" }, "MINIBOT_HOME: its name is not valid UTF-8", "rename it"},
		"newline":       {func(s *launchd.Settings) { s.Program = "/a\nb" }, "the program: its name has a control character", "rename it"},
		"escape":        {func(s *launchd.Settings) { s.Program = "/a\x1bb" }, "the program: its name has a control character", "rename it"},
		"U+FFFE":        {func(s *launchd.Settings) { s.Program = "/a\ufffe" }, "the program: its name has a control character", "rename it"},
		"bidi":          {func(s *launchd.Settings) { s.Program = "/a\u202e" }, "the program: its name has a control character", "rename it"},
		"colon in PATH": {func(s *launchd.Settings) { s.UserHome = "/Users/a:b" }, "the user's home folder: a colon in it cannot be in PATH", ""},
	} {
		s := example
		test.edit(&s)
		data, err := launchd.Render(s)
		if err == nil || data != nil || !strings.Contains(err.Error(), "make the property list: "+test.want) || !strings.Contains(hint.Of(err), test.hint) {
			t.Errorf("%s: %v, %q", name, err, hint.Of(err))
		}
	}
	_, err := launchd.Render(launchd.Settings{})
	if n := strings.Count(err.Error(), "it is empty"); n != 4 {
		t.Errorf("%d of four faults are named: %v", n, err)
	}
}

func xml(body string) []byte {
	return []byte(`<?xml version="1.0" encoding="UTF-8"?><plist version="1.0">` + body + `</plist>`)
}

func TestReadOthers(t *testing.T) {
	d, err := launchd.Read(xml(`<dict><key>Label</key><string>com.minibot.gateway</string><key>Program</key><string>docker</string>
		<key>ProgramArguments</key><array><string>docker</string><string>compose</string><string>up</string></array>
		<key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict><key>Surprise</key><real>1.5</real>
		<key>LimitLoadToSessionType</key><array><string>Aqua</string><string>Background</string></array><key>Disabled</key><true/></dict>`))
	must(t, err)
	if d.Label != "com.minibot.gateway" || d.Program != "docker" || !slices.Equal(d.Arguments, []string{"compose", "up"}) || !d.KeepAlive || d.RunAtLoad ||
		!d.Disabled || len(d.SessionTypes) != 2 {
		t.Errorf("%+v", d)
	}
	_, err = launchd.Read(convert(t, render(t, odd), "bin"))
	if err == nil || hint.Of(err) != "run `plutil -convert xml1 FILE`" {
		t.Errorf("binary: %v, %q", err, hint.Of(err))
	}
}

func TestReadRefuses(t *testing.T) {
	for want, data := range map[string][]byte{
		"not a property list in XML":                                 []byte("<plist><dict>canary-text"),
		"the property list is not a dictionary":                      xml(`<array><string>canary-1</string></array>`),
		"this is not a property list in XML":                         []byte(`{ Label = "canary"; }`),
		"have data":                                                  xml(`<dict><key>Label</key><data>Y2FuYXJ5</data></dict>`),
		"this is not a property list":                                []byte("\xff\xfe<\x00"),
		"read the property list: this is not a property list in XML": xml("<string>\x00</string>"),
		"too large":                                                         bytes.Repeat([]byte(" "), 256<<10+1),
		"key Label: want string, have integer":                              xml(`<dict><key>Label</key><integer>1</integer></dict>`),
		"key RunAtLoad: want boolean, have string":                          xml(`<dict><key>RunAtLoad</key><string>canary</string></dict>`),
		"key ProgramArguments: want array of strings, have boolean":         xml(`<dict><key>ProgramArguments</key><array><true/></array></dict>`),
		"key ProgramArguments: want array of strings, have dictionary":      xml(`<dict><key>ProgramArguments</key><dict/></dict>`),
		"key EnvironmentVariables: want dictionary of strings, have data":   xml(`<dict><key>EnvironmentVariables</key><dict><key>A</key><data>Y2FuYXJ5</data></dict></dict>`),
		"key EnvironmentVariables: want dictionary of strings, have string": xml(`<dict><key>EnvironmentVariables</key><string>canary</string></dict>`),
		"key KeepAlive: want boolean or dictionary, have real":              xml(`<dict><key>KeepAlive</key><real>1.5</real></dict>`),
	} {
		_, err := launchd.Read(data)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestCutOffIsNoPropertyList cuts the file anywhere, adds to it, and takes away its root.
func TestCutOffIsNoPropertyList(t *testing.T) {
	data := bytes.TrimSpace(render(t, example))
	for n := range data {
		if _, err := launchd.Read(data[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are taken", n, len(data))
		}
	}
	inner := data[bytes.Index(data, []byte("<dict>")):bytes.LastIndex(data, []byte("</plist>"))]
	for name, other := range map[string][]byte{
		"more": append(bytes.Clone(data), "canary"...), "twice": append(bytes.Clone(data), data...), "no root": inner,
		"two roots": append(xml("<dict/>"), "<plist><dict/></plist>"...),
	} {
		if _, err := launchd.Read(other); err == nil || len(launchd.Check(other)) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := launchd.Read(append([]byte("\ufeff"), data...))
	must(t, err) // some editors write a byte order mark
}

func TestDifferences(t *testing.T) {
	have := xml(`<dict><key>A</key><string>canary-a</string><key>B</key><integer>63</integer><key>C</key><dict><key>PATH</key><string>canary-p</string>
		<key>TOKEN</key><string>canary-t</string></dict><key>E</key><true/><key>F&#x9;</key><true/></dict>`)
	want := xml(`<dict><key>A</key><string>b</string><key>B</key><integer>63</integer><key>C</key><dict><key>PATH</key><string>p</string></dict>
		<key>D</key><true/><key>E</key><string>true</string></dict>`)
	got, err := launchd.Differences(have, want)
	must(t, err)
	same(t, got, []string{
		"A has another value", "C.PATH has another value", "C.TOKEN is not minibot's", "D is missing", "E has another value", `"F\t" is not minibot's`,
	})
	if _, err := launchd.Differences([]byte("x"), want); err == nil {
		t.Error("what is no property list has no differences")
	}
	if _, err := launchd.Differences(have, nil); err == nil {
		t.Error("what is no property list has no differences")
	}
}
