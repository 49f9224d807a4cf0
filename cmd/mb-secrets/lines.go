package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"minibot/commandline"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

// maxInput bounds what init reads from stdin, in bytes: some hundred of the largest values.
const maxInput = 16 << 20

// assignment is one NAME=VALUE line.
type assignment struct {
	name  secrets.Name
	value secrets.Value
}

// readAssignments reads NAME=VALUE lines to the end of r. A bad line is an error with its number and never with any of its text.
func readAssignments(ctx context.Context, r io.Reader) ([]assignment, error) {
	data, err := readAll(ctx, r, maxInput)
	if err != nil {
		return nil, fmt.Errorf("read stdin: %w", err)
	}
	if len(data) > maxInput {
		return nil, fmt.Errorf("stdin: %w: more than %d bytes", secrets.ErrTooLarge, maxInput)
	}
	var list []assignment
	seen := map[secrets.Name]int{}
	number := 0
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		number++
		if blank := bytes.TrimSpace(line); len(blank) == 0 || blank[0] == '#' {
			continue
		}
		key, plain, found := bytes.Cut(line, []byte("="))
		name, err := secrets.ParseName(string(key))
		if !found || err != nil {
			return nil, hint.Wrap(commandline.Usage("stdin, line %d: want NAME=VALUE", number),
				"a name is a capital letter, then up to 63 of A-Z, 0-9 and _, with no space before =")
		}
		if first, ok := seen[name]; ok {
			return nil, commandline.Usage("stdin, line %d: %s stands in line %d already", number, name, first)
		}
		seen[name] = number
		value, err := secrets.NewValue(plain)
		if err != nil {
			return nil, fmt.Errorf("stdin, line %d: %s: %w", number, name, err)
		}
		list = append(list, assignment{name, value})
	}
	return list, nil
}

// assign stores what the lines give, all in one change; what is set already stays.
func (a *app) assign(ctx context.Context, list []control.Secret, lines []assignment) error {
	var unset []assignment
	for _, line := range lines {
		if s, ok := find(list, line.name); ok && s.Set {
			a.io.Say("%s is set already and stays as it is; mb-secrets set %s changes it", line.name, line.name)
			continue
		}
		unset = append(unset, line)
	}
	return a.store(ctx, list, unset)
}

// store stores what the lines give, all in one change, and shows how it comes into force.
func (a *app) store(ctx context.Context, list []control.Secret, lines []assignment) error {
	var changes []control.Change
	for _, line := range lines {
		a.advise(list, line.name, line.value)
		changes = append(changes, control.Change{Name: line.name, Value: line.value.Reveal()})
	}
	if len(changes) == 0 {
		return nil
	}
	backend, daemon, err := a.backend(ctx)
	if err != nil {
		return err
	}
	return backend.Change(ctx, control.ChangeOrder{Changes: changes, Order: a.order()}, a.reporter(daemon))
}
