package standin

import (
	"encoding/hex"
	"slices"
)

// request is what the options of a command on generic passwords say. A nil string was not given.
type request struct {
	account, service, label, kind, comment, generic *string
	value                                           []byte // nil: none
	update, get, only                               bool
	keychains                                       []string
}

// parse reads the options of list; ok is false when the usage is to be shown.
func (p *program) parse(arguments []string, list string) (r request, ok bool) {
	options, rest := getopt(arguments, list, p.complain)
	for _, o := range options {
		argument := o.argument
		switch o.name {
		case 'a':
			r.account = &argument
		case 's':
			r.service = &argument
		case 'l':
			r.label = &argument
		case 'D':
			r.kind = &argument
		case 'j':
			r.comment = &argument
		case 'G':
			r.generic = &argument
		case 'p':
			r.value = []byte(argument)
		case 'w':
			if r.value = []byte(argument); arguments[0][0] == 'f' {
				r.get, r.only = true, true
			}
		case 'X':
			if len(argument)%2 == 1 {
				argument = "0" + argument
			}
			decoded, err := hex.DecodeString(argument)
			if err != nil {
				p.complain("Unable to convert password data (-X must specify valid hex digits)")
				return r, false
			}
			r.value = append([]byte{}, decoded...)
		case 'U':
			r.update = true
		case 'g':
			r.get = true
		case 'A', 'T', 'c', 'C':
		default:
			return r, false
		}
	}
	r.keychains = rest
	return r, true
}

func pick(given *string) string {
	if given == nil {
		return ""
	}
	return *given
}

// search finds the first generic password, as find_first_generic_password in keychain_find.c: with service and account
// given nothing else counts.
func (s *State) search(r request) (*Keychain, *Item) {
	matches := func(want *string, has string) bool { return want == nil || *want == has }
	primary := r.account != nil && r.service != nil
	for _, k := range s.Keychains {
		if len(r.keychains) > 0 && !slices.Contains(r.keychains, k.Path) {
			continue
		}
		for _, i := range k.Items {
			if i.Class == "" && matches(r.service, i.Service) && matches(r.account, i.Account) &&
				(primary || matches(r.label, i.Label) && matches(r.kind, i.Kind) && matches(r.comment, i.Comment) && matches(r.generic, i.Generic)) {
				return k, i
			}
		}
	}
	return nil, nil
}

// unlocked is the answer of a keychain whose keys are needed.
func (s *State) unlocked(k *Keychain) int {
	switch {
	case s.Blocked:
		return statusAsking
	case k.Locked && s.Desktop:
		return statusAsking
	case k.Locked:
		return StatusNoInteraction
	}
	return 0
}

// read is the answer of an item whose value is asked for by /usr/bin/security.
func (s *State) read(k *Keychain, i *Item) int {
	if status := s.unlocked(k); status != 0 {
		return status
	}
	switch {
	case s.Refuse != 0:
		return s.Refuse
	case i.Partition != Tool && s.Desktop:
		return statusAsking
	case i.Partition != Tool:
		return StatusNoInteraction
	}
	s.Reads++
	return 0
}

// write is the answer of a keychain where a value is written. It asks for no permission of an item: whoever writes
// takes it over.
func (s *State) write(k *Keychain) int {
	if status := s.unlocked(k); status != 0 {
		return status
	}
	if s.RefuseWrites != 0 {
		return s.RefuseWrites
	}
	return s.Refuse
}

func (p *program) add(arguments []string) int {
	r, ok := p.parse(arguments, ":a:c:C:D:G:j:l:s:p:w:X:UAT:h")
	if !ok || r.account == nil || r.service == nil || len(r.keychains) > 1 || len(r.keychains) == 1 && r.keychains[0] == "" {
		return statusUsage
	}
	return p.transact(func(s *State) int {
		if r.update {
			status := p.modify(s, r)
			if status == 0 || status == statusAsking {
				return status
			}
		}
		return p.create(s, r)
	})
}

// modify follows do_update_generic_password.
func (p *program) modify(s *State, r request) int {
	k, item := s.search(r)
	if item == nil {
		return StatusNotFound
	}
	if status := s.write(k); status == statusAsking {
		return status
	} else if status != 0 {
		return p.failed("SecKeychainItemModifyContent", status)
	}
	if s.Forgets {
		return 0
	}
	item.Label = pick(r.service)
	for given, to := range map[*string]*string{r.label: &item.Label, r.kind: &item.Kind, r.comment: &item.Comment, r.generic: &item.Generic} {
		if given != nil {
			*to = *given
		}
	}
	if r.value != nil {
		item.Value, item.Partition = r.value, Tool
	}
	item.Modified = s.now()
	return 0
}

// create follows do_add_generic_password after its attempt to update, whose failure it ignores.
func (p *program) create(s *State, r request) int {
	name, k := "<default>", (*Keychain)(nil)
	if len(r.keychains) == 1 {
		name = r.keychains[0]
	}
	for _, candidate := range s.Keychains {
		if k == nil && (len(r.keychains) == 0 || candidate.Path == name) {
			k = candidate
		}
	}
	what := "SecKeychainItemCreateFromContent (" + name + ")"
	switch {
	case k == nil && len(r.keychains) == 0:
		return p.failed(what, StatusNoDefault)
	case k == nil:
		return p.failed(what, StatusNoKeychain)
	}
	if status := s.unlocked(k); status == statusAsking {
		return status
	} else if status != 0 {
		return p.failed(what, status)
	}
	there := slices.ContainsFunc(k.Items, func(i *Item) bool {
		return i.Class == "" && i.Service == pick(r.service) && i.Account == pick(r.account)
	})
	if there {
		return p.failed(what, StatusDuplicate)
	}
	if status := s.write(k); status != 0 {
		return p.failed(what, status)
	}
	if s.Forgets {
		return 0
	}
	label := r.label
	if label == nil {
		label = r.service
	}
	k.Items = append(k.Items, &Item{
		Service: pick(r.service), Account: pick(r.account), Label: pick(label), Kind: pick(r.kind), Comment: pick(r.comment),
		Generic: pick(r.generic), Created: s.now(), Modified: s.now(), Partition: Tool, Value: r.value,
	})
	return 0
}

func (p *program) find(arguments []string) int {
	r, ok := p.parse(arguments, "ha:c:C:D:G:j:l:s:wg")
	if !ok {
		return statusUsage
	}
	return p.transact(func(s *State) int {
		k, item := s.search(r)
		if item == nil {
			return p.failed("SecKeychainSearchCopyNext", StatusNotFound)
		}
		if r.get {
			if status := s.read(k, item); status != 0 {
				return status
			}
		}
		if r.only {
			p.printf(p.stdout, "%s", Only(item.Value))
			return 0
		}
		Attributes(p.stdout, k.Path, item)
		if r.get {
			p.printf(p.stderr, "password: %s\n", Buffer(item.Value))
		}
		return 0
	})
}

// delete asks for no permission.
func (p *program) delete(arguments []string) int {
	r, ok := p.parse(arguments, "ha:c:C:D:G:j:l:s:g")
	if !ok || r.account == nil && r.service == nil && r.label == nil && r.kind == nil && r.comment == nil && r.generic == nil {
		return statusUsage
	}
	return p.transact(func(s *State) int {
		k, item := s.search(r)
		if item == nil {
			return p.failed("SecKeychainSearchCopyNext", StatusNotFound)
		}
		Attributes(p.stdout, k.Path, item)
		k.Items = slices.DeleteFunc(k.Items, func(i *Item) bool { return i == item })
		p.printf(p.stderr, "password has been deleted.\n")
		return 0
	})
}

func (p *program) dump(arguments []string) int {
	options, keychains := getopt(arguments, "adhiro:", p.complain)
	data := false
	for _, o := range options {
		switch o.name {
		case 'd':
			data = true
		case 'a', 'r':
		default:
			return statusUsage
		}
	}
	return p.transact(func(s *State) int {
		for _, k := range s.Keychains {
			if len(keychains) > 0 && !slices.Contains(keychains, k.Path) {
				continue
			}
			for _, i := range k.Items {
				if !data {
					Attributes(p.stdout, k.Path, i)
					continue
				}
				if status := s.read(k, i); status == statusAsking {
					return status
				} else if status != 0 {
					p.failed("SecKeychainItemCopyAttributesAndData", status)
					continue
				}
				Attributes(p.stdout, k.Path, i)
				p.printf(p.stdout, "data:\n%s\n", Buffer(i.Value))
			}
		}
		return 0
	})
}
