package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"minibot/config"
	"minibot/console"
	"minibot/logfile"
	"minibot/secrets"
)

// output is where the daemon's own words go: to io.Err, which is stderr behind redact, or to its own file. Under launchd
// stderr is a file that grows for ever; elsewhere (a terminal, a pipe, journald, a person's own file) somebody else keeps it.
type output struct {
	io     *console.IO
	stderr *os.File // itself
	redact *secrets.Redaction
	lines  slog.HandlerOptions // how a record is written; open sets the level
}

// trim empties the two files that launchd opened for this process. It goes before all that can fail: an agent that fails at
// each start fills them too. A failure is no reason not to start.
func (o output) trim(paths config.Paths) {
	err := errors.Join(logfile.Trim(os.Stdout, filepath.Join(paths.LogDir, logfile.Stdout)),
		logfile.Trim(o.stderr, filepath.Join(paths.LogDir, logfile.Stderr)))
	if err != nil {
		o.io.Warn("%v", err)
	}
}

// open returns the daemon's logger. The caller closes it with done. Where the file cannot be opened the log goes to stderr.
func (o output) open(paths config.Paths, cfg config.Config) (log *slog.Logger, done func() error) {
	to := o.io.Err
	done = func() error { return nil }
	if logfile.Leads(o.stderr, filepath.Join(paths.LogDir, logfile.Stderr)) {
		file, err := logfile.Open(paths.LogDir, logfile.Options(cfg.Log), o.io.Err)
		if err != nil {
			o.io.Error(err)
		} else {
			clean := o.redact.Writer(file)
			to, done = clean, func() error { return errors.Join(clean.Close(), file.Close()) }
		}
	}
	o.lines.Level = cfg.Level()
	return slog.New(slog.NewTextHandler(to, &o.lines)), done
}
