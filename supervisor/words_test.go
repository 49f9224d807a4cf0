package supervisor

import "testing"

func TestExited(t *testing.T) {
	for want, c := range map[string]Container{
		"exited with 0": {},
		"exited with 1": {ExitCode: 1},
		"exited with 125 (the engine could not run it)":    {ExitCode: 125},
		"exited with 126 (its command cannot be executed)": {ExitCode: 126},
		"exited with 127 (its command was not found)":      {ExitCode: 127},
		"exited with 128":                          {ExitCode: 128},
		"exited with 137 (SIGKILL)":                {ExitCode: 137},
		"exited with 139 (SIGSEGV)":                {ExitCode: 139},
		"exited with 143 (SIGTERM)":                {ExitCode: 143, MemoryLimit: 1 << 20},
		"exited with 135 (SIGBUS)":                 {ExitCode: 135},
		"exited with 255":                          {ExitCode: 255},
		"exited with -1":                           {ExitCode: -1},
		"exited with 137 (SIGKILL): out of memory": {ExitCode: 137, OOMKilled: true},
		"exited with 137 (SIGKILL): out of memory, its limit is 512 MiB": {ExitCode: 137, OOMKilled: true, MemoryLimit: 512 << 20},
		"exited with 1: out of memory, its limit is 2 GiB":               {ExitCode: 1, OOMKilled: true, MemoryLimit: 2 << 30},
		"exited with 1: out of memory, its limit is 1025 KiB":            {ExitCode: 1, OOMKilled: true, MemoryLimit: 1025 << 10},
		"exited with 1: out of memory, its limit is 1000 bytes":          {ExitCode: 1, OOMKilled: true, MemoryLimit: 1000},
	} {
		if got := fault(condDead, c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := fault(condDead, Container{ExitCode: 127, Error: "no such file"}); got != "did not start: no such file" {
		t.Errorf("%q", got)
	}
}
