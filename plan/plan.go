// Package plan says beforehand what a rotation would do, and in the terms of package control what rotations did.
//
// It owns the choice of the secrets that a rotation is about, with or without a daemon, and the order and wording of
// the steps shown. It guarantees that asking changes nothing: it works on what its callers have read. It never opens a
// store, a journal or a socket, and never sees a value.
package plan

import (
	"fmt"
	"slices"

	"minibot/control"
	"minibot/rotation"
	"minibot/secrets"
	"minibot/stack"
)

// Make says what a rotation of the chosen secrets would do now, and how long it took last time. rows are what
// [control.SecretRows] made of the project's requirements; receipts have the newest last.
func Make(project *stack.Project, rows []control.Secret, choice Choice, receipts []control.Receipt) control.Plan {
	p := planner{project: project, last: receipts, plan: control.Plan{
		Secrets: []control.PlannedSecret{}, Steps: []control.PlannedStep{}, Services: []control.PlannedService{}, Notes: []string{},
	}}
	for _, row := range rows {
		name := secrets.Name(row.Name)
		chosen := slices.Contains(choice.Names, name)
		if !chosen && !slices.Contains(choice.ByHand, name) {
			continue
		}
		r := requirement(project.Requirements, name)
		p.plan.Secrets = append(p.plan.Secrets, planned(r, row, chosen))
		if chosen {
			p.chosen = append(p.chosen, r)
		}
	}
	p.plan.Notes = append(p.plan.Notes, Notes(rows, choice)...)
	p.services()
	p.steps()
	p.times()
	p.plan.LastTookMS = lastTook(receipts, choice.Names)
	return p.plan
}

// Notes says what of a choice is left to a person.
func Notes(rows []control.Secret, choice Choice) []string {
	var notes []string
	for _, name := range choice.ByHand {
		notes = append(notes, fmt.Sprintf("%s must be set by hand: %s", name, byHand(rows, name)))
	}
	for _, name := range choice.Unset {
		notes = append(notes, fmt.Sprintf("%s is not set: mb-secrets generate %s", name, name))
	}
	return notes
}

// byHand is the command that sets a secret, and where the old value is revoked.
func byHand(rows []control.Secret, name secrets.Name) string {
	text := "mb-secrets set " + string(name)
	if row, ok := find(rows, name); ok && row.RevokeURL != "" {
		text += " (revoke at " + row.RevokeURL + ")"
	}
	return text
}

func planned(r secrets.Requirement, row control.Secret, generated bool) control.PlannedSecret {
	k := kindOf(r.Rotate)
	s := control.PlannedSecret{Name: row.Name, Driver: r.Rotate.Driver, Service: r.Rotate.Service, Generated: generated,
		Overlaps: k.overlaps, How: k.how, Due: row.Due, Age: row.Age, RevokeURL: row.RevokeURL}
	if row.Set {
		s.Changed = row.Changed
	}
	if !generated {
		s.How = "by hand: nothing here can make a value"
	}
	return s
}

// kind is how the holder of a credential takes a new one.
type kind struct {
	overlaps bool // it can hold two credentials
	switches bool // it can hold one, and the switch is short
	how      string
	accept   string // what StepAccept does; "" where there is none
	see      string // what StepSee does; "" where there is none
}

// kindOf returns the kind of a driver.
func kindOf(r secrets.Rotation) kind {
	const unused = "waits for users that take it without a word to leave the old one"
	switch {
	case r.Driver == "postgres" && len(r.Roles) > 0:
		return kind{overlaps: true, how: "two login roles take turns: the old one is valid until its users have the new one",
			accept: "ALTER ROLE: the other role gets the new password", see: unused}
	case r.Driver == "postgres":
		return kind{switches: true, how: "one role: password and files change within milliseconds of each other", see: unused}
	case r.Driver == "redis":
		return kind{overlaps: true, how: "both passwords are valid until its users have the new one",
			accept: "ACL SETUSER: takes the new password beside the old one", see: unused}
	case r.Driver == "openclaw":
		return kind{how: "the gateway reads it anew, without a restart", see: proof}
	case r.Driver == "exec":
		if !r.Overlaps {
			return kind{switches: true, how: "by the service's own command, within moments of the new files", see: unused}
		}
		return kind{overlaps: true, how: "by the service's own command; the old value is valid until its users have the new one",
			accept: "its command accepts the new value", see: unused}
	}
	return kind{how: "its users take the new file"}
}

// planner builds one plan.
type planner struct {
	project *stack.Project
	chosen  []secrets.Requirement
	last    []control.Receipt
	plan    control.Plan
}

// services lists who takes the new values, what they depend on first, and who is restarted after a restart of these.
func (p *planner) services() {
	restarts := map[string]bool{}
	for _, service := range ordered(p.project.Services) {
		s := control.PlannedService{Name: service.Name, How: service.OnChange, Secrets: []string{}}
		for _, r := range p.chosen {
			exposed := slices.Contains(service.Exposed, r.Name)
			if exposed {
				s.How = "recreate" // its definition holds the value
			}
			if exposed || slices.Contains(service.Secrets, r.Name) {
				s.Secrets = append(s.Secrets, string(r.Name))
			}
		}
		follows := slices.ContainsFunc(service.DependsOn, func(d stack.Dependency) bool { return d.Restart && restarts[d.Service] })
		if follows && s.How != "recreate" {
			s.How = "restart"
		}
		if len(s.Secrets) == 0 && !follows {
			continue
		}
		restarts[service.Name] = follows || s.How == "restart" || s.How == "recreate"
		p.plan.Services = append(p.plan.Services, s)
	}
}

// ordered lists services so that each stands after those that it depends on; otherwise by name.
func ordered(services map[string]stack.Service) []stack.Service {
	var list []stack.Service
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		service, there := services[name]
		if seen[name] || !there {
			return
		}
		seen[name] = true
		for _, d := range service.DependsOn {
			visit(d.Service)
		}
		list = append(list, service)
	}
	names := make([]string, 0, len(services))
	for name := range services {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		visit(name)
	}
	return list
}

// steps lists the steps of package rotation that concern the chosen secrets.
func (p *planner) steps() {
	if len(p.chosen) == 0 {
		return
	}
	p.each(rotation.StepStage, func(kind) string { return "keeps the new value beside the current one, in the store" })
	for _, r := range p.chosen {
		if k := kindOf(r.Rotate); k.overlaps {
			p.step(rotation.StepAccept, string(r.Name), r.Rotate.Service, k.accept)
			p.step(rotation.StepProve, string(r.Name), r.Rotate.Service, proof)
		}
	}
	prepare := "the new files lie ready"
	altered := slices.ContainsFunc(p.chosen, func(r secrets.Requirement) bool { return r.Rotate.Driver == "postgres" && kindOf(r.Rotate).switches })
	commanded := slices.ContainsFunc(p.chosen, func(r secrets.Requirement) bool { return r.Rotate.Driver == "exec" && kindOf(r.Rotate).switches })
	if altered {
		prepare = "ALTER ROLE in a transaction that is open; " + prepare
	}
	p.step(rotation.StepPrepare, "", "", prepare)
	p.each(rotation.StepPromote, func(kind) string { return "in the store: previous ← current ← new" })
	p.step(rotation.StepSwitch, "", "", when(commanded, "the service's command, and then ")+when(altered, "COMMIT, and at once ")+"the new files are in place")
	p.each(rotation.StepVerify, func(k kind) string { return when(k.switches, proof) })
	for _, s := range p.plan.Services {
		text := effects[s.How]
		if len(s.Secrets) == 0 {
			text += ", after what it depends on"
		}
		p.step(rotation.StepAdopt, "", s.Name, text)
	}
	p.each(rotation.StepSee, func(k kind) string { return k.see })
	p.each(rotation.StepRetire, func(k kind) string {
		return when(k.see != "", "the old one is refused; until here a failure takes everything back")
	})
}

const proof = "lets the new one in, and not a random one"

func when(is bool, text string) string {
	if !is {
		return ""
	}
	return text
}

// effects says what each way to take a new secret does to a service.
var effects = map[string]string{
	"restart":  "restarts",
	"recreate": "is made anew",
	"signal":   "gets its signal",
	"exec":     "runs its command",
	"openclaw": "reads its secrets anew, without a restart",
	"none":     "goes on: it finds the new file when it looks",
}

// each adds a step for each chosen secret for which effect says something.
func (p *planner) each(step rotation.Step, effect func(kind) string) {
	for _, r := range p.chosen {
		if text := effect(kindOf(r.Rotate)); text != "" {
			service := r.Rotate.Service
			if step == rotation.StepStage || step == rotation.StepPromote {
				service = ""
			}
			p.step(step, string(r.Name), service, text)
		}
	}
}

func (p *planner) step(step rotation.Step, secret, service, effect string) {
	p.plan.Steps = append(p.plan.Steps, control.PlannedStep{Step: string(step), Secret: secret, Service: service, Effect: effect})
}

// times notes how long each step took last time.
func (p *planner) times() {
	kinds := map[string]int{}
	for _, s := range p.plan.Steps {
		kinds[s.Step]++
	}
	for i, s := range p.plan.Steps {
		p.plan.Steps[i].LastMS = lastStep(p.last, s, kinds[s.Step] == 1)
	}
}

func requirement(required []secrets.Requirement, name secrets.Name) secrets.Requirement {
	for _, r := range required {
		if r.Name == name {
			return r
		}
	}
	return secrets.Requirement{Name: name}
}

func find(rows []control.Secret, name secrets.Name) (control.Secret, bool) {
	for _, row := range rows {
		if row.Name == string(name) {
			return row, true
		}
	}
	return control.Secret{}, false
}
