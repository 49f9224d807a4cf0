package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"minibot/deploy"
)

// filtering is the process of the daemon's that reports how it crashes.
const filtering = "minibotd's crash filter"

// idling watches the daemon with the shipped stack up, and beside it Debian's supervisor and monit with three processes each, that
// have nothing to do either. monit asks every 5 s, to see a fault about as soon as the others do.
func idling(ctx context.Context, b *bench) (rows []row, err error) {
	ports := map[string]string{"MINIBOT_POSTGRES_PORT": "25433", "MINIBOT_REDIS_PORT": "26380", "MINIBOT_OPENCLAW_PORT": "28790"}
	p, err := b.project(string(deploy.ComposeFile), madeUp, ports)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	if _, err := p.up(ctx); err != nil {
		return nil, err
	}
	peers, err := p.watchers()
	defer func() {
		for _, c := range peers {
			err = errors.Join(err, c.Process.Signal(syscall.SIGTERM)) // supervisord ends what it started
			_ = c.Wait()                                              // sleep says that it was ended
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, 20*time.Second); err != nil { // what the starts still do
		return nil, err
	}
	filter, err := child(p.daemon.Process.Pid)
	if err != nil {
		return nil, err
	}
	all := map[string]int{"minibotd": p.daemon.Process.Pid, filtering: filter, "supervisord": peers["supervisord"].Process.Pid, "monit": peers["monit"].Process.Pid}
	minutes, before := b.times(10), map[string]int64{}
	for name, pid := range all {
		if before[name], err = cpuTicks(pid); err != nil {
			return nil, err
		}
	}
	if err := pause(ctx, time.Duration(minutes)*time.Minute); err != nil {
		return nil, err
	}
	used, memory := map[string]int64{}, map[string]int64{}
	for name, pid := range all {
		after, err := cpuTicks(pid)
		if err != nil {
			return nil, err
		}
		used[name] = after - before[name]
		if memory[name], err = rssAnon(pid); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"minibotd", filtering, "supervisord", "monit"} {
		rows = append(rows, row{"idle, " + name + ": RssAnon", fmt.Sprintf("%.1f MB", float64(memory[name])/1024), map[string]string{"minibotd": "≤ 12 MB"}[name]},
			row{fmt.Sprintf("idle, %s: CPU in %d min", name, minutes), fmt.Sprintf("%d ms", used[name]*10), map[string]string{"minibotd": fmt.Sprintf("≤ %d ms", 20*minutes)}[name]})
	}
	ratio := func(of map[string]int64, peer string) string {
		return fmt.Sprintf("ratio %.2f", float64(of["minibotd"])/float64(max(of[peer], 1)))
	}
	return append(rows,
		row{"idle, CPU, minibotd : supervisord", ratio(used, "supervisord"), "< 1"},
		row{"idle, CPU, minibotd : monit", ratio(used, "monit"), "< 1"},
		row{"idle, RssAnon, minibotd : supervisord", ratio(memory, "supervisord"), "≤ 0.33"}), nil
}

// watchers starts supervisord and monit in the foreground, by name, with three processes that sleep for each. The caller ends all that
// is returned, also with an error.
func (p *project) watchers() (map[string]*exec.Cmd, error) {
	started := map[string]*exec.Cmd{}
	start := func(name string, args ...string) error {
		cmd := exec.Command(name, args...)
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		if name == "sleep" {
			name = fmt.Sprint(name, len(started))
		}
		started[name] = cmd
		return nil
	}
	supervisor := fmt.Sprintf("[supervisord]\nnodaemon=true\nlogfile=%[1]s/supervisord.log\npidfile=%[1]s/supervisord.pid\nchildlogdir=%[1]s\n"+
		"[unix_http_server]\nfile=%[1]s/supervisor.sock\n[rpcinterface:supervisor]\n"+
		"supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n", p.home)
	monit := fmt.Sprintf("set daemon 5\nset log %[1]s/monit.log\nset pidfile %[1]s/monit.pid\nset idfile %[1]s/monit.id\nset statefile %[1]s/monit.state\n", p.home)
	for i := range 3 {
		supervisor += fmt.Sprintf("[program:s%d]\ncommand=sleep infinity\nautorestart=true\n", i)
		if err := start("sleep", "infinity"); err != nil {
			return started, err
		}
		pidfile := filepath.Join(p.home, fmt.Sprintf("s%d.pid", i))
		if err := os.WriteFile(pidfile, []byte(strconv.Itoa(started[fmt.Sprint("sleep", i)].Process.Pid)), 0o600); err != nil {
			return started, err
		}
		monit += fmt.Sprintf("check process s%d with pidfile %s\n", i, pidfile)
	}
	for _, c := range []struct {
		file, text string
		command    []string
	}{
		{"supervisord.conf", supervisor, []string{"supervisord", "-n", "-c"}},
		{"monitrc", monit, []string{"monit", "-I", "-c"}},
	} {
		file := filepath.Join(p.home, c.file)
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			return started, err
		}
		if err := start(c.command[0], append(c.command[1:], file)...); err != nil {
			return started, err
		}
	}
	return started, nil
}

// cpuTicks is user and system time in hundredths of a second (USER_HZ), from /proc/PID/stat.
func cpuTicks(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return user + system, errors.Join(err1, err2)
}

// child is the only child of a process, whichever thread of it started it.
func child(pid int) (int, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	var all []string
	for _, file := range threads {
		data, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		all = append(all, strings.Fields(string(data))...)
	}
	if len(all) != 1 {
		return 0, fmt.Errorf("process %d has %d children, want one", pid, len(all))
	}
	return strconv.Atoi(all[0])
}

// rssAnon is in KiB.
func rssAnon(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "RssAnon:" {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, errors.New("no RssAnon")
}
