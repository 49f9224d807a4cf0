package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// docsCommands runs what the documents show for a running stack.
func (in *installation) docsCommands(t *testing.T) {
	t.Cleanup(func() { in.tryDocker("volume", "rm", "-f", in.name+"_pgdata-before") })
	ours := strings.NewReplacer("minibot_", in.name+"_", "redis:8.2.3-alpine", image("MINIBOT_REDIS_IMAGE"))
	for _, name := range []string{"secrets.md", "maintenance.md"} {
		file, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		inside, ran := false, 0
		for line := range strings.Lines(string(file)) {
			if strings.HasPrefix(line, "```") {
				inside = line == "```console stack\n"
			}
			if !inside || !strings.HasPrefix(line, "$ ") {
				continue
			}
			ran++
			cmd := exec.CommandContext(t.Context(), "sh", "-ec", ours.Replace(line[2:]))
			cmd.Env = append(in.environ(), "PATH="+programs+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v: %s", line, err, out)
			}
			t.Logf("%s%s", line, out)
		}
		if ran == 0 {
			t.Errorf("docs/%s shows no command for a running stack", name)
		}
	}
}
