package stack

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"minibot/secrets"
)

// The codes of findings; stable, for scripts.
const (
	CodeExposed       = "exposed-secret" // a required secret is interpolated or passed on
	CodeTargetOutside = "target-outside" // a secret is to lie outside of /run/secrets
	CodeInvalid       = "invalid"        // the file cannot be loaded
)

// Finding is one fault of a compose file. It holds no value of a secret: none is known where it is found.
type Finding struct {
	Code    string       `json:"code"`
	Secret  secrets.Name `json:"secret"`
	Service string       `json:"service"` // "" outside of services
	Path    string       `json:"path"`    // such as services.web.environment.PASSWORD
	File    string       `json:"file"`    // absolute; another one than the compose file where that includes or extends it
	Line    int          `json:"line"`    // from 1; 0 where it cannot be told
	Message string       `json:"message"` // what is wrong and what to write instead, in one line

	steps []string // of Path: a name may have dots in it
}

// String is the finding as a line for a person: FILE:LINE: PATH: MESSAGE.
func (f Finding) String() string {
	return (&LoadError{File: f.File, Line: f.Line, Path: f.Path, Err: fmt.Errorf("%s", f.Message)}).Error()
}

// describe completes a finding of an exposed secret: key is the secret's below `secrets:`, and of an env_file, at what it says.
func (f *Finding) describe(key, at string) {
	f.Code = CodeExposed
	if len(f.steps) > 1 && (f.steps[0] == "services" || f.steps[0] == "jobs") {
		f.Service = f.steps[1]
	}
	shown := slices.Clone(f.steps)
	for i := range shown {
		shown[i] = printable(shown[i])
	}
	f.Path = strings.Join(shown, ".")
	f.Message = printable(advice(f.steps, string(f.Secret), key, at))
}

// advice says what happens to the secret's value at this place, and what to write instead.
func advice(steps []string, name, key, at string) string {
	file := "/run/secrets/" + key
	mount := "list " + key + " under the service's `secrets:`"
	part := steps[0]
	if len(steps) > 2 && (part == "services" || part == "jobs") {
		part = steps[2]
	}
	switch part {
	case "environment":
		return fmt.Sprintf("the value of %s goes into the container's environment, which docker inspect shows; %s and have the service read %s "+
			"(many images take its name in a variable that ends in _FILE; for others see the wrapper in docs/compose.md)", name, mount, file)
	case "command", "entrypoint":
		return fmt.Sprintf("the value of %s goes into the container's command line, which docker inspect and ps show; %s and have a shell read it with \"$$(cat %s)\"; "+
			"where a variable of the container is meant, write $$%s", name, mount, file, name)
	case "healthcheck":
		return fmt.Sprintf("compose itself replaces a single $, and docker inspect shows the value of %s in the healthcheck; write $$%s for a variable of the container, "+
			"or \"$$(cat %s)\" for the secret's file", name, name, file)
	case "labels", "annotations", "deploy", "label_file":
		return fmt.Sprintf("the value of %s would be in a label, which docker inspect shows; take it out", name)
	case "build":
		return fmt.Sprintf("the value of %s would stay in the image's history; take it out of the build: what needs it reads %s when it runs", name, file)
	case "env_file":
		return fmt.Sprintf("%s: its value goes into the container's environment, which docker inspect shows; take that line out, %s and have the service read %s", at, mount, file)
	case "include":
		return fmt.Sprintf("%s: a plain file holds what belongs into the secret store; take that line out", at)
	case "configs":
		return fmt.Sprintf("the value of %s would be in a config, which lies in the container's layer on the disk; %s and have the service read %s", name, mount, file)
	}
	if strings.HasPrefix(part, "x-") {
		return fmt.Sprintf("compose puts the value of %s into extensions too; take it out, or write $$ where a plain $ is meant", name)
	}
	return fmt.Sprintf("the value of %s would be known to the engine in the clear; take it out, or write $$ where a plain $ is meant; a service reads it from %s", name, file)
}

// printable is text on one line, with what is invisible, or would move a terminal's cursor, written out.
func printable(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if part := text[:size]; unicode.IsPrint(r) && (r != utf8.RuneError || size > 1) {
			b.WriteString(part)
		} else {
			quoted := strconv.Quote(part)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[size:]
	}
	return b.String()
}
