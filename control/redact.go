package control

import (
	"reflect"

	"minibot/secrets"
)

// redacted returns v, which goes over the wire, with all that redaction knows replaced in every string of it. v itself
// is not changed. What programs read stays as it is, so that a secret whose value is a silly one, such as "healthy",
// breaks no answer: keys, the words of this protocol, and names of secrets where those belong.
func redacted[T any](redaction *secrets.Redaction, v T) T {
	if redaction == nil {
		return v
	}
	var copied T
	redactInto(redaction, reflect.ValueOf(&copied).Elem(), reflect.ValueOf(&v).Elem(), false)
	return copied
}

// nameType is a name by its type. tagName is the tag, under the key "redact", of strings that are names of secrets.
var nameType = reflect.TypeFor[secrets.Name]()

const tagName = "name"

// redactInto makes to a deep copy of from. names says that its strings are names of secrets.
func redactInto(redaction *secrets.Redaction, to, from reflect.Value, names bool) {
	switch from.Kind() {
	case reflect.String:
		to.SetString(redactString(redaction, from.String(), names || from.Type() == nameType))
	case reflect.Pointer, reflect.Interface:
		if from.IsNil() {
			return
		}
		inner := reflect.New(from.Elem().Type())
		redactInto(redaction, inner.Elem(), from.Elem(), names)
		if from.Kind() == reflect.Interface {
			inner = inner.Elem()
		}
		to.Set(inner)
	case reflect.Slice:
		if from.IsNil() {
			return
		}
		to.Set(reflect.MakeSlice(from.Type(), from.Len(), from.Len()))
		redactElements(redaction, to, from, names)
	case reflect.Array:
		redactElements(redaction, to, from, names)
	case reflect.Map:
		if from.IsNil() {
			return
		}
		to.Set(reflect.MakeMapWithSize(from.Type(), from.Len()))
		for key, value := range from.Seq2() {
			newKey, newValue := reflect.New(key.Type()).Elem(), reflect.New(value.Type()).Elem()
			redactInto(redaction, newKey, key, names)
			redactInto(redaction, newValue, value, names)
			to.SetMapIndex(newKey, newValue)
		}
	case reflect.Struct:
		to.Set(from)
		for i := range from.NumField() {
			if field := from.Type().Field(i); field.IsExported() {
				to.Field(i).SetZero()
				redactInto(redaction, to.Field(i), from.Field(i), field.Tag.Get("redact") == tagName)
			}
		}
	default:
		to.Set(from)
	}
}

func redactElements(redaction *secrets.Redaction, to, from reflect.Value, names bool) {
	for i := range from.Len() {
		redactInto(redaction, to.Index(i), from.Index(i), names)
	}
}

func redactString(redaction *secrets.Redaction, text string, name bool) string {
	if words[text] {
		return text
	}
	if name {
		if _, err := secrets.ParseName(text); err == nil {
			return text
		}
	}
	return redaction.Text(text)
}

// words are those of the protocol: they tell nothing, whatever a secret's value is, and programs go by them.
var words = func() map[string]bool {
	all := map[string]bool{}
	for _, k := range kinds {
		all[k.code] = true
	}
	for _, word := range []Phase{PhaseWaitingForStore, PhaseWaitingForEngine, PhaseConverging, PhaseHealthy, PhaseDegraded, PhaseRotating,
		PhaseStopped, PhaseLockedDown} {
		all[string(word)] = true
	}
	for _, word := range []Severity{SeverityHigh, SeverityMedium, SeverityNote} {
		all[string(word)] = true
	}
	for _, word := range []string{
		"running", "starting", "waiting", "exited", "healing", "maintenance", "missing", "paused", "unhealthy", // of a service
		"open", "unavailable", "error", "keychain", "security", "secret-service", "age", // of the store
		"current", "pending", "previous", "unused", AgeOK, AgeDue, AgeOverdue, // of a secret
		KindSet, KindRotate, KindRollback, KindRehearse, KindPending, KindByHand, KindCompromised,
		OutcomeDone, OutcomeRolledBack, OutcomeUnfinished,
		"begin", "restage", "stage", "accept", "prove", "prepare", "promote", "switch", "verify", "adopt", "see", "retire", "end",
		"resume", "demote", "switch-back", "readopt", "revert", "unstage", // steps
		"restart", "recreate", "signal", "exec", "none", "postgres", "redis", "openclaw", // how
		"phase", "progress", "request", "secret", "start", "stop", "exit", "heal", "failed", "recovered", "gave-up", "flapping", "lines", "reconnected", "deliver", "volume", // events
	} {
		all[word] = true
	}
	return all
}()
