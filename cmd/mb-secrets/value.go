package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"minibot/console"
	"minibot/control"
	"minibot/hint"
	"minibot/secrets"
)

// shortValue is the length in bytes below which a value is warned about.
const shortValue = 12

// promptTries is how often a person may mistype the second time.
const promptTries = 3

var errMismatch = errors.New("the two values differ")

// promptValue asks twice for a value. An empty first answer is secrets.ErrEmptyValue.
func (a *app) promptValue(ctx context.Context, name secrets.Name) (secrets.Value, error) {
	for try := 1; ; try++ {
		first, err := a.io.Hidden(ctx, fmt.Sprintf("%s (not shown): ", name))
		if err != nil {
			return secrets.Value{}, err
		}
		value, err := checked(name, first)
		if err != nil {
			return secrets.Value{}, err
		}
		second, err := a.io.Hidden(ctx, "again: ")
		if err != nil {
			return secrets.Value{}, err
		}
		if again, err := secrets.NewValue(second); err == nil && again.Equal(value) {
			return value, nil
		}
		if try == promptTries {
			return secrets.Value{}, hint.Wrap(fmt.Errorf("%s: %w, %d times", name, errMismatch, promptTries), "nothing changed; try again, or pipe it: mb-secrets set %s < FILE", name)
		}
		a.io.Say("The two values differ. Once more:")
	}
}

// readValue reads a value from In to its end and cuts one line end.
func (a *app) readValue(ctx context.Context, name secrets.Name) (secrets.Value, error) {
	plain, err := readAll(ctx, a.io.In, secrets.MaxValueSize+2)
	if err != nil {
		return secrets.Value{}, fmt.Errorf("read %s from stdin: %w", name, err)
	}
	if cut, ok := bytes.CutSuffix(plain, []byte("\n")); ok {
		plain = bytes.TrimSuffix(cut, []byte("\r"))
	}
	return checked(name, plain)
}

func checked(name secrets.Name, plain []byte) (secrets.Value, error) {
	value, err := secrets.NewValue(plain)
	if err != nil {
		return secrets.Value{}, fmt.Errorf("%s: %w", name, err)
	}
	return value, nil
}

// readAll reads r to its end, at most limit bytes and one more to see that there are too many. A pipe cannot be
// interrupted: when ctx ends first, the reading goroutine stays until the program ends, which is next.
func readAll(ctx context.Context, r io.Reader, limit int64) ([]byte, error) {
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := io.ReadAll(io.LimitReader(r, limit+1))
		done <- result{data, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case got := <-done:
		return got.data, got.err
	}
}

// advise warns about a value or a name that is probably a mistake.
func (a *app) advise(list []control.Secret, name secrets.Name, value secrets.Value) {
	if !value.IsZero() && value.Len() < shortValue {
		a.io.Warn("the value of %s has only %d bytes", name, value.Len())
	}
	if s, ok := find(list, name); !ok || s.State == "unused" {
		a.io.Warn("the compose file declares no secret %s: no service uses it", name)
	}
}

func find(list []control.Secret, name secrets.Name) (control.Secret, bool) {
	for _, s := range list {
		if s.Name == string(name) {
			return s, true
		}
	}
	return control.Secret{}, false
}

// interrupted says what ^C leaves, where err is one and nobody closer to it has said so; other errors pass.
func interrupted(err error, format string, args ...any) error {
	if said := (interruption{}); errors.As(err, &said) {
		return err
	}
	if errors.Is(err, context.Canceled) && control.ExitCode(err) == 130 {
		return fmt.Errorf("%w: %s", errInterrupted, fmt.Sprintf(format, args...))
	}
	return err
}

// errInterrupted prints as one word and counts as a cancelled context.
var errInterrupted error = interruption{}

type interruption struct{}

func (interruption) Error() string { return "interrupted" }
func (interruption) Unwrap() error { return console.ErrInterrupted }
