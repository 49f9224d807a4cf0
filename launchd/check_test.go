package launchd_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"minibot/launchd"
)

// Values of every type, as XML, and what Check calls them.
var values = map[string]string{
	"string":                      `<string>/canary</string>`,
	"boolean":                     `<true/>`,
	"integer":                     `<integer>5</integer>`,
	"real":                        `<real>1.5</real>`,
	"date":                        `<date>2026-01-01T00:00:00Z</date>`,
	"data":                        `<data>Y2FuYXJ5</data>`,
	"array":                       `<array/>`,
	"dictionary":                  `<dict/>`,
	"array of string":             `<array><string>/canary</string></array>`,
	"array of integer":            `<array><integer>5</integer></array>`,
	"array of boolean":            `<array><true/></array>`,
	"array of dictionary":         `<array><dict><key>Hour</key><integer>5</integer></dict></array>`,
	"dictionary of string":        `<dict><key>a</key><string>canary</string></dict>`,
	"dictionary of integer":       `<dict><key>a</key><integer>5</integer></dict>`,
	"dictionary of boolean":       `<dict><key>a</key><true/></dict>`,
	"dictionary of dictionary":    `<dict><key>a</key><dict/></dict>`,
	"dictionary of array":         `<dict><key>a</key><array><dict/></array></dict>`,
	"array of boolean and string": `<array><true/><string>canary</string></array>`,
}

// Which of them each shape of launchd.plist(5) takes.
var takes = map[string][]string{
	"string":                {"string"},
	"boolean":               {"boolean"},
	"integer":               {"integer"},
	"strings":               {"array", "array of string"},
	"string or strings":     {"string", "array", "array of string"},
	"dict of strings":       {"dictionary", "dictionary of string"},
	"dict of integers":      {"dictionary", "dictionary of integer"},
	"dict":                  {"dictionary", "dictionary of string", "dictionary of integer", "dictionary of boolean", "dictionary of dictionary", "dictionary of array"},
	"integers or more":      {"dictionary", "dictionary of integer", "array", "array of dictionary"},
	"boolean or conditions": {"boolean", "dictionary"},
	"integer or octal":      {"integer"},
	"services":              {"dictionary", "dictionary of boolean", "dictionary of dictionary"},
	"sockets":               {"dictionary", "dictionary of dictionary", "dictionary of array"},
}

// The keys of launchd.plist(5), written down here a second time, from the manual.
var manual = map[string]string{
	"string": "Label UserName GroupName Program BundleProgram RootDirectory WorkingDirectory StandardInPath StandardOutPath StandardErrorPath ProcessType",
	"boolean": `Disabled LimitLoadToDeveloperMode EnableGlobbing EnableTransactions EnablePressuredExit OnDemand ServiceIPC RunAtLoad InitGroups StartOnMount
		Debug WaitForDebugger AbandonProcessGroup LowPriorityIO LowPriorityBackgroundIO MaterializeDatalessFiles LaunchOnlyOnce HopefullyExitsFirst
		HopefullyExitsLast SessionCreate LegacyTimers`,
	"integer":               "TimeOut ExitTimeOut ThrottleInterval StartInterval Nice",
	"strings":               "LimitLoadToHosts LimitLoadFromHosts ProgramArguments WatchPaths QueueDirectories",
	"string or strings":     "LimitLoadToSessionType AssociatedBundleIdentifiers",
	"dict of strings":       "EnvironmentVariables",
	"dict of integers":      "SoftResourceLimits HardResourceLimits",
	"dict":                  "inetdCompatibility LimitLoadToHardware LimitLoadFromHardware LaunchEvents SpawnConstraint",
	"integers or more":      "StartCalendarInterval",
	"boolean or conditions": "KeepAlive",
	"integer or octal":      "Umask",
	"services":              "MachServices",
	"sockets":               "Sockets",
}

// few are keys whose strings are chosen from a few.
var few = map[string]string{"ProcessType": "Standard", "LimitLoadToSessionType": "Background"}

// TestCheckKnowsEveryKeyAndType gives every key a value of every type.
func TestCheckKnowsEveryKeyAndType(t *testing.T) {
	for shape, keys := range manual {
		for _, key := range strings.Fields(keys) {
			for kind, value := range values {
				if word := few[key]; word != "" {
					value = strings.ReplaceAll(value, "/canary", word)
				}
				others := `<key>Label</key><string>a</string><key>ProgramArguments</key><array><string>/a</string></array>`
				if key == "Label" || key == "ProgramArguments" {
					others = `<key>BundleProgram</key><string>a</string>`
				}
				var about []string
				for _, err := range launchd.Check(xml(fmt.Sprintf(`<dict>%s<key>%s</key>%s</dict>`, others, key, value))) {
					if strings.HasPrefix(err.Error(), "key "+key+": ") {
						about = append(about, err.Error())
					}
					if strings.Contains(err.Error(), "canary") {
						t.Errorf("it quotes a value: %v", err)
					}
				}
				if slices.Contains(takes[shape], kind) {
					if len(about) > 0 {
						t.Errorf("%s of %s: %q", key, kind, about)
					}
				} else if len(about) != 1 || !strings.HasSuffix(about[0], "have "+kind) && key != "KeepAlive" && key != "Umask" {
					t.Errorf("%s of %s: %q", key, kind, about)
				}
			}
		}
	}
}

func TestCheckFindsWhatNoKeyShouldHave(t *testing.T) {
	valid := map[string]string{
		"Label": `<string>a</string>`, "ProgramArguments": `<array><string>/a</string></array>`,
	}
	for _, test := range []struct{ key, value, want string }{
		{"Label", ``, "key Label is missing or empty"},
		{"Label", `<string></string>`, "key Label is missing or empty"},
		{"ProgramArguments", ``, "neither Program nor ProgramArguments says what to run"},
		{"ProgramArguments", `<array/>`, "neither Program nor ProgramArguments says what to run"},
		{"ProgramArguments", `<array><string>~/canary</string></array>`, "key ProgramArguments: launchd expands neither ~ nor $HOME"},
		{"ProgramArguments", `<array><string>bin/canary</string></array>`, "key ProgramArguments: it is not an absolute path"},
		{"ProgramArguments", `<array><string>docker</string></array>`, ""},
		{"Program", `<string>$HOME/canary</string>`, "key Program: launchd expands neither ~ nor $HOME"},
		{"Program", `<string>docker</string>`, ""},
		{"StandardOutPath", `<string>~/canary</string>`, "key StandardOutPath: launchd expands neither ~ nor $HOME"},
		{"StandardErrorPath", `<string>canary.log</string>`, "key StandardErrorPath: it is not an absolute path"},
		{"WorkingDirectory", `<string>$HOME</string>`, "key WorkingDirectory: launchd expands neither ~ nor $HOME"},
		{"ProcessType", `<string>Canary</string>`, "key ProcessType: want one of Background, Standard, Adaptive, Interactive"},
		{"LimitLoadToSessionType", `<array><string>Aqua</string><string>Canary</string></array>`, "key LimitLoadToSessionType: want one of Aqua, Background, LoginWindow, StandardIO, System"},
		{"Umask", `<integer>77</integer>`, ""},
		{"Umask", `<string>077</string>`, ""},
		{"Umask", `<integer>512</integer>`, "key Umask: it is not between 0 and 511 (octal 777)"},
		{"Umask", `<integer>-1</integer>`, "key Umask: it is not between 0 and 511 (octal 777)"},
		{"Umask", `<string>canary</string>`, "key Umask: it is not between 0 and 511 (octal 777)"},
		{"ExitTimeOut", `<integer>-1</integer>`, "key ExitTimeOut: it is negative"},
		{"ThrottleInterval", `<integer>-1</integer>`, "key ThrottleInterval: it is negative"},
		{"Nice", `<integer>-21</integer>`, "key Nice: it is not between -20 and 20"},
		{"Nice", `<integer>21</integer>`, "key Nice: it is not between -20 and 20"},
		{"Nice", `<integer>-20</integer>`, ""},
		{"KeepAlive", `<dict><key>SuccessfulExit</key><false/><key>PathState</key><dict><key>/a</key><true/></dict></dict>`, ""},
		{"KeepAlive", `<dict><key>SuccessfulExit</key><string>canary</string></dict>`, "key KeepAlive: SuccessfulExit: want boolean, have string"},
		{"KeepAlive", `<dict><key>PathState</key><true/></dict>`, "key KeepAlive: PathState: want dictionary of booleans, have boolean"},
		{"KeepAlive", `<dict><key>Always</key><true/></dict>`, "key KeepAlive: launchd.plist(5) has no such condition: Always"},
		{"Keepalive", `<true/>`, "key Keepalive: launchd.plist(5) has no such key"},
		{"Env&#x1b;[2J", `<true/>`, `key "Env\x1b[2J": launchd.plist(5) has no such key`},
	} {
		keys := maps.Clone(valid)
		keys[test.key] = test.value
		var body strings.Builder
		for key, value := range keys {
			if value != "" {
				body.WriteString("<key>" + key + "</key>" + value)
			}
		}
		var faults []string
		for _, err := range launchd.Check(xml("<dict>" + body.String() + "</dict>")) {
			faults = append(faults, err.Error())
		}
		want := []string{test.want}
		if test.want == "" {
			want = nil
		}
		if strings.Contains(test.key, "\x1b") || strings.Contains(test.key, "&#x1b;") { // XML 1.0 has no escape character
			want = []string{"this is not a property list in XML"}
		}
		if !slices.Equal(faults, want) {
			t.Errorf("%s %s: %q", test.key, test.value, faults)
		}
	}
	if faults := launchd.Check([]byte("canary")); len(faults) != 1 || bytes.Contains([]byte(faults[0].Error()), []byte("canary")) {
		t.Errorf("%v", faults)
	}
}
