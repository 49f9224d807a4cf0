package launchd

// shape is what launchd.plist(5) says about the value of a key.
type shape string

// The shapes, named as the manual does.
const (
	aString       shape = "string"
	aPath         shape = "string (an absolute path)"
	aBoolean      shape = "boolean"
	anInteger     shape = "integer"
	stringArray   shape = "array of strings"
	stringOrArray shape = "string or array of strings"
	stringDict    shape = "dictionary of strings"
	integerDict   shape = "dictionary of integers"
	integersOrSet shape = "dictionary of integers or array of them"
	dictOrArray   shape = "dictionary or array"
	aDict         shape = "dictionary"
	keepAliveDict shape = "boolean or dictionary"
	integerOrText shape = "integer or string"
	booleanDict   shape = "dictionary of booleans"
	boolOrDicts   shape = "dictionary of booleans or dictionaries"
)

// keyTable holds every key that the manual of macOS 10.5 to 15 describes for a property list of launchd.
var keyTable = map[string]shape{
	"Label":                       aString,
	"Disabled":                    aBoolean,
	"UserName":                    aString,
	"GroupName":                   aString,
	"inetdCompatibility":          aDict,
	"LimitLoadToHosts":            stringArray,
	"LimitLoadFromHosts":          stringArray,
	"LimitLoadToSessionType":      stringOrArray,
	"LimitLoadToHardware":         aDict,
	"LimitLoadFromHardware":       aDict,
	"LimitLoadToDeveloperMode":    aBoolean,
	"Program":                     aString,
	"BundleProgram":               aString,
	"ProgramArguments":            stringArray,
	"EnableGlobbing":              aBoolean,
	"EnableTransactions":          aBoolean,
	"EnablePressuredExit":         aBoolean,
	"OnDemand":                    aBoolean,
	"ServiceIPC":                  aBoolean,
	"KeepAlive":                   keepAliveDict,
	"RunAtLoad":                   aBoolean,
	"RootDirectory":               aPath,
	"WorkingDirectory":            aPath,
	"EnvironmentVariables":        stringDict,
	"Umask":                       integerOrText,
	"TimeOut":                     anInteger,
	"ExitTimeOut":                 anInteger,
	"ThrottleInterval":            anInteger,
	"InitGroups":                  aBoolean,
	"WatchPaths":                  stringArray,
	"QueueDirectories":            stringArray,
	"StartOnMount":                aBoolean,
	"StartInterval":               anInteger,
	"StartCalendarInterval":       integersOrSet,
	"StandardInPath":              aPath,
	"StandardOutPath":             aPath,
	"StandardErrorPath":           aPath,
	"Debug":                       aBoolean,
	"WaitForDebugger":             aBoolean,
	"SoftResourceLimits":          integerDict,
	"HardResourceLimits":          integerDict,
	"Nice":                        anInteger,
	"ProcessType":                 aString,
	"AbandonProcessGroup":         aBoolean,
	"LowPriorityIO":               aBoolean,
	"LowPriorityBackgroundIO":     aBoolean,
	"MaterializeDatalessFiles":    aBoolean,
	"LaunchOnlyOnce":              aBoolean,
	"MachServices":                boolOrDicts,
	"Sockets":                     dictOrArrays,
	"LaunchEvents":                aDict,
	"HopefullyExitsFirst":         aBoolean,
	"HopefullyExitsLast":          aBoolean,
	"SessionCreate":               aBoolean,
	"LegacyTimers":                aBoolean,
	"AssociatedBundleIdentifiers": stringOrArray,
	"SpawnConstraint":             aDict,
}

// dictOrArrays is the shape of Sockets, whose entries are dictionaries or arrays of dictionaries.
const dictOrArrays shape = "dictionary of dictionaries or of arrays"

// keepAliveTable holds the conditions of KeepAlive.
var keepAliveTable = map[string]shape{
	"SuccessfulExit":     aBoolean,
	"Crashed":            aBoolean,
	"NetworkState":       aBoolean,
	"PathState":          booleanDict,
	"OtherJobEnabled":    booleanDict,
	"AfterInitialDemand": aBoolean,
}

// valueTable holds the values of keys that have few.
var valueTable = map[string][]string{
	"ProcessType":            {"Background", "Standard", "Adaptive", "Interactive"},
	"LimitLoadToSessionType": {"Aqua", "Background", "LoginWindow", "StandardIO", "System"},
}
