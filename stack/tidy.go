package stack

import (
	"context"
	"fmt"
	"path"
	"slices"

	"minibot/hint"
)

// tidy takes away what a delivery that was cut short left in a service's stage: killed between the copy and the
// renames, together with the keeper or before its program was up, nobody else does. It looks once for each run of the
// keeper and after each failure of our own, and costs a call then.
func (e *Engine) tidy(ctx context.Context, p *Project, keeper Container, service, running string) error {
	files := p.Services[service].Files
	if len(files) == 0 {
		return nil
	}
	r, err := e.recordOf(ctx, p, keeper, service, running)
	if err != nil || r.tidied {
		return err
	}
	through := ""
	if r.through == running { // it still runs
		through = running
	}
	begun, there, err := e.readRecordFile(ctx, keeper, service, through, nextRecordFile)
	if err != nil {
		return err
	}
	if there || r.Open && len(r.Files) > 0 {
		names := slices.Concat(r.Files, begun.Files)
		for _, f := range files {
			names = append(names, f.Name)
		}
		slices.Sort(names)
		if err := e.unstage(ctx, keeper, service, slices.Compact(names)); err != nil {
			return err
		}
	}
	r.tidied = true
	e.learn(place{p.Name, service}, r)
	return nil
}

// unstage removes the staged files of these names, and last the record that says that there are any.
func (e *Engine) unstage(ctx context.Context, keeper Container, service string, names []string) error {
	stage := path.Join(keeperRoot, service, stageDir)
	cmd := []string{"/keeper"}
	for _, name := range names {
		cmd = append(cmd, path.Join(stage, stagedPrefix+name), "")
	}
	result, err := e.Exec(ctx, keeper.ID, Exec{Cmd: append(cmd, path.Join(stage, nextRecordFile), ""), Stdin: []byte{'\n'}})
	if err != nil {
		return fmt.Errorf("service %s: take staged files away: %w", service, err)
	}
	if result.ExitCode != 0 {
		return hint.Wrap(fmt.Errorf("service %s: take staged files away: the keeper's program ended with %d", service, result.ExitCode),
			"see `docker ps -a`: is container %s well?", keeper.Name)
	}
	return nil
}
