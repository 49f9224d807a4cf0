package rotation

import "slices"

// Step is one step of a rotation, as the journal names it. A record of it is written before its effect.
type Step string

// The steps, in the order in which they are taken. What is marked "each" is taken for each secret that it concerns.
const (
	StepBegin   Step = "begin"
	StepRestage Step = "restage" // each: a value that was changed by hand is taken back to pending
	StepStage   Step = "stage"   // each: the next value goes to pending
	StepAccept  Step = "accept"  // each: a database that can hold two accepts the next beside the current one
	StepProve   Step = "prove"   // each: and lets it in
	StepPrepare Step = "prepare" // files and databases that hold one are made ready for the switch
	StepPromote Step = "promote" // each: previous ← current ← pending in the store
	StepSwitch  Step = "switch"  // the prepared databases and the delivered files change at once
	StepVerify  Step = "verify"  // each: a database that was switched lets the next one in
	StepAdopt   Step = "adopt"   // the users take it, in dependency order
	StepSee     Step = "see"     // each: nobody uses the former one
	StepRetire  Step = "retire"  // each: the former one is refused. From here on there is no way back
	StepEnd     Step = "end"

	StepResume Step = "resume" // a later run carries it on

	StepRollBack   Step = "roll-back"   // from here on everything is taken back
	StepDemote     Step = "demote"      // each: the former value is current again in the store
	StepSwitchBack Step = "switch-back" // the files, and databases that hold one, have the former one again
	StepReadopt    Step = "readopt"     // the users take it
	StepRevert     Step = "revert"      // each: the next one is refused
	StepUnstage    Step = "unstage"     // each: pending is emptied
)

var steps = []Step{
	StepBegin, StepRestage, StepStage, StepAccept, StepProve, StepPrepare, StepPromote, StepSwitch, StepVerify, StepAdopt, StepSee,
	StepRetire, StepEnd, StepResume, StepRollBack, StepDemote, StepSwitchBack, StepReadopt, StepRevert, StepUnstage,
}

// Steps lists every step there is.
func Steps() []Step { return slices.Clone(steps) }

// Moment is where in a step the process may die.
type Moment string

// The moments of a step.
const (
	BeforeRecord Moment = "before-record"
	BeforeEffect Moment = "before-effect" // and after the record
	AfterEffect  Moment = "after-effect"
)

// Point is one moment of one step: a crash point.
type Point struct {
	Step   Step
	Moment Moment
}

func (p Point) String() string { return string(p.Step) + "/" + string(p.Moment) }

// Points lists every crash point there is. A step is taken only by way of its three points, so that none can be
// forgotten.
func Points() []Point {
	var all []Point
	for _, s := range steps {
		for _, m := range []Moment{BeforeRecord, BeforeEffect, AfterEffect} {
			all = append(all, Point{s, m})
		}
	}
	return all
}
