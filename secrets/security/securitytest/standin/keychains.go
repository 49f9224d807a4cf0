package standin

import "slices"

func (s *State) keychain(path string) *Keychain {
	for _, k := range s.Keychains {
		if path == "" || k.Path == path {
			return k
		}
	}
	return nil
}

func (p *program) listKeychains(arguments []string) int {
	options, rest := getopt(arguments, "d:hs", p.complain)
	if len(options)+len(rest) > 0 {
		return statusUsage
	}
	return p.transact(func(s *State) int {
		for _, k := range s.Keychains {
			p.printf(p.stdout, "    \"%s\"\n", k.Path)
		}
		return 0
	})
}

func (p *program) defaultKeychain(arguments []string) int {
	options, rest := getopt(arguments, "d:hs", p.complain)
	if len(options)+len(rest) > 0 {
		return statusUsage
	}
	return p.transact(func(s *State) int {
		k := s.keychain("")
		if k == nil {
			p.failed("SecKeychainCopyDefault", StatusNoDefault)
			return statusFailed
		}
		p.printf(p.stdout, "    \"%s\"\n", k.Path)
		return 0
	})
}

// createKeychain needs -p: nobody can be prompted.
func (p *program) createKeychain(arguments []string) int {
	options, paths := getopt(arguments, "hp:P", p.complain)
	password := ""
	for _, o := range options {
		if o.name != 'p' {
			return statusUsage
		}
		password = o.argument
	}
	if password == "" || len(paths) == 0 {
		return statusFailed
	}
	return p.transact(func(s *State) int {
		for _, path := range paths {
			if s.keychain(path) != nil {
				return p.failed("SecKeychainCreate "+path, StatusDupKeychain)
			}
			s.Keychains = append(s.Keychains, &Keychain{Path: path, Password: password})
		}
		return 0
	})
}

func (p *program) lockKeychain(arguments []string) int {
	options, paths := getopt(arguments, "ah", p.complain)
	all := slices.ContainsFunc(options, func(o option) bool { return o.name == 'a' })
	if len(options) > 1 || len(options) == 1 && !all || len(paths) > 1 {
		return statusUsage
	}
	return p.transact(func(s *State) int {
		for i, k := range s.Keychains {
			if all || len(paths) == 1 && k.Path == paths[0] || len(paths) == 0 && i == 0 {
				k.Locked = true
			}
		}
		return 0
	})
}

// unlockKeychain needs -p: nobody can be prompted.
func (p *program) unlockKeychain(arguments []string) int {
	options, paths := getopt(arguments, "hp:u", p.complain)
	password := ""
	for _, o := range options {
		if o.name != 'p' {
			return statusUsage
		}
		password = o.argument
	}
	if len(paths) > 1 {
		return statusUsage
	}
	path := ""
	if len(paths) == 1 {
		path = paths[0]
	}
	return p.transact(func(s *State) int {
		k := s.keychain(path)
		if k == nil {
			return p.failed("SecKeychainUnlock "+path, StatusNoKeychain)
		}
		if k.Password != password {
			return p.failed("SecKeychainUnlock "+k.Path, StatusDenied)
		}
		k.Locked = false
		return 0
	})
}
