package stack

import (
	"context"
	"fmt"
	"path"
	"slices"
)

// tidy takes away what a delivery that was cut short left in the stages of services: killed between the copy and the
// renames, together with the keeper or before its program was up, nobody else does. What lies there is known with the records.
func (e *Engine) tidy(ctx context.Context, p *Project, keeper Container, services []string) error {
	records, err := e.records(ctx, p, keeper, services)
	if err != nil {
		return err
	}
	return forEach(ctx, services, func(ctx context.Context, i int, service string) error {
		r := records[i]
		if r.tidied {
			return nil
		}
		names := slices.Concat(r.Files, r.begun)
		for _, f := range p.Services[service].Files {
			names = append(names, f.Name)
		}
		slices.Sort(names)
		if err := e.unstage(ctx, keeper, service, slices.Compact(names)); err != nil {
			return err
		}
		r.tidied, r.begun = true, nil
		e.learn(place{p.Name, service}, r)
		return nil
	})
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
		return programError(fmt.Sprintf("service %s: take staged files away", service), result, keeper)
	}
	return nil
}
