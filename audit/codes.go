package audit

import (
	"fmt"

	"minibot/control"
	"minibot/secrets"
)

// code says what finding a value in a kind of place means.
type code struct {
	what string // where it is, as the end of a sentence
	mend string // what to do besides changing the secret
}

// The codes of leaks, by kind of place; docs/audit.md lists them.
var codes = map[string]code{
	"secret-in-arguments": {"in a process's arguments, which every user of the machine can read", "start the program so that it reads the value from a file or from its standard input"},
	"secret-in-environment": {"in a process's environment, which its children inherit and crash reports hold",
		"start the program so that it reads the value from a file"},
	"secret-in-history":            {"in a history of typed commands", "remove the line from it and leave every open session, which may write it again"},
	"secret-in-shell-startup":      {"in a file that every shell reads, so that all that is started from one inherits it", "remove the line from it"},
	"secret-in-env-file":           {"in a file of variables", "remove the line; the compose file names the secret under `secrets:` instead (docs/compose.md)"},
	"secret-in-client-config":      {"in a client's configuration", "remove it there; have the client ask for it, or read it from a file that a service has"},
	"secret-in-service-definition": {"in the definition of a service of this user", "remove it there, and have the program read it from a file"},
	"secret-in-log":                {"in a log of minibot's", "remove the file; that it got there is a fault of minibot's, to be reported"},
	"secret-in-state":              {"in a file of minibot's own", "stop minibotd and remove the file; that it got there is a fault of minibot's, to be reported"},
	"secret-in-config":             {"in minibot's configuration", "remove it; [env] of config.toml is for what is no secret"},
	"secret-in-compose-file":       {"in the compose file", "remove it; name the secret under `secrets:` with `environment:` (docs/compose.md)"},
	"secret-in-file":               {"in a file beside minibot's own", "remove it from the file, or the file"},
	"secret-in-core-dump":          {"in a memory image or a report of a program that ended badly", "remove the file"},
	"secret-in-inspect":            {"in what the engine tells whoever asks it, and keeps on its disk", "have the service read it from /run/secrets instead (docs/compose.md), then `minibotd reload`; remove what is not the project's"},
	"secret-in-exec":               {"in a command that runs in a container, which the engine tells whoever asks it", "give the value on the command's standard input, or by a file"},
	"secret-in-container-log":      {"in a container's log", "keep the service from printing it, then recreate the container, which removes its log: `docker rm -f` it, and minibotd makes it anew"},
	"secret-in-layer":              {"in a file of a container's own layer, which is on the disk", "keep the service from writing it, or have it write to a tmpfs, then recreate the container: `docker rm -f` it, and minibotd makes it anew"},
	"secret-in-volume":             {"in a file of a volume, which is on the disk", "remove it from the file, and keep the service from writing it"},
	"secret-in-image":              {"in an image, which whoever has it can read", "build the image without it (`RUN --mount=type=secret`), and remove this one and every copy of it"},
	"secret-in-name":               {"in the name of a file", "rename the file"},
}

// leak is the finding that s was seen at p.
func leak(p place, s Secret, encoding secrets.Encoding) control.Finding {
	about := codes[p.code]
	f := control.Finding{
		Code: p.code, Severity: control.SeverityHigh, Secret: s.Name, Slot: s.Slot.String(), Form: string(encoding),
		Place: p.name, Service: p.service,
	}
	whose, first := "the value in force", fmt.Sprintf("rotate it: `mb-secrets rotate %s`, then: ", s.Name)
	switch s.Slot {
	case secrets.Current:
	case secrets.Pending:
		whose, first = "the value that is about to be in force", fmt.Sprintf("set another one: `mb-secrets rotate %s`, then: ", s.Name)
	case secrets.Previous:
		whose, first = "the former value", ""
		f.Severity = control.SeverityMedium
	}
	f.Message = fmt.Sprintf("%s of %s is %s", whose, s.Name, about.what)
	f.Hint = first + about.mend
	if p.code == "secret-in-environment" && p.service != "" {
		f.Severity = control.SeverityMedium
		f.Message = fmt.Sprintf("%s of %s is in the environment of a process of service %s; to be accepted only where an image takes it from nowhere "+
			`else, and then by a wrapper alone: sh -c 'export X="$(cat /run/secrets/X)"; exec …'`, whose, s.Name, p.service)
		f.Hint = "have the service read it from /run/secrets; docs/compose.md tells how, and about the wrapper"
	}
	return f
}
