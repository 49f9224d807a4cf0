package launchd_test

import (
	"testing"
	"unicode/utf8"

	"minibot/launchd"
)

func corpus(f *testing.F) {
	f.Helper()
	data, err := launchd.Render(odd)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(xml(`<dict><key>Label</key><string>a</string><key>KeepAlive</key><dict><key>Crashed</key><true/></dict></dict>`))
	f.Add([]byte("bplist00\xd1\x01\x02\x51a\x51b"))
	f.Add([]byte(`{ Label = a; }`))
}

// FuzzReadAndCheck has files of anybody's: neither function panics, hangs or lets a terminal's commands through, and what Check
// finds no fault in can be read.
func FuzzReadAndCheck(f *testing.F) {
	corpus(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := launchd.Read(data)
		faults := launchd.Check(data)
		if err != nil && len(faults) == 0 {
			t.Errorf("nothing is wrong, but: %v", err)
		}
		for _, fault := range append(faults, err) {
			if fault != nil && !plainText(fault.Error()) {
				t.Errorf("%q", fault)
			}
		}
		if same, err := launchd.Differences(data, data); err == nil && len(same) > 0 {
			t.Errorf("it differs from itself: %q", same)
		}
	})
}

// plainText tells whether a text is one line that a terminal prints as it is.
func plainText(text string) bool {
	for _, r := range text {
		if r < ' ' || r == 0x7f || r >= 0x80 && r <= 0x9f {
			return false
		}
	}
	return utf8.ValidString(text)
}
