package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
)

// Different owners of one secret, images that run as somebody else than root, a read-only root, and a value that is a
// program.
const ownedSecrets = `
services:
  a:
    image: IMAGE
    entrypoint: SLEEP
    network_mode: none
    user: "1000:1001"
    read_only: true
    secrets: [{ source: ONE, uid: "1000", gid: "1001", mode: 0400 }, { source: TWO, target: group, gid: "1001", mode: 0440 }]
  b:
    image: IMAGE
    entrypoint: SLEEP
    network_mode: none
    user: "70"
    secrets: [{ source: ONE, uid: "70", mode: 0400 }, { source: TWO, target: others, uid: "1000", mode: 0400 }]
  c: { image: IMAGE, network_mode: none, entrypoint: SLEEP, secrets: [{ source: RUN, target: run }] }
secrets:
  ONE: { environment: ONE }
  TWO: { environment: TWO }
  RUN: { environment: RUN }
`

// meddle tries to change what is in /run/secrets, or what it is, and says what it could.
const meddle = `
n=0; try() { n=$((n+1)); if ("$@") 2>/dev/null; then echo "could $*"; fi; }
append() { echo x >>"$1"; }; create() { echo x >/run/secrets/x; }
for f in /run/secrets/*; do :; done
try append "$f"; try create; try rm "$f"; try mv "$f" /run/secrets/x; try mkdir /run/secrets/x; try mknod /run/secrets/x p; try ln -s /x /run/secrets/x
try chmod 777 "$f"; try chown 1 "$f"; try touch /run/secrets; try mount -o remount,rw,exec /run/secrets; try umount /run/secrets
echo tried $n`

// refused runs a script as a service's user, or as root with user "0"; it must fail for the reason that why matches.
func (r *rig) refused(service, user, script, why string) {
	r.Helper()
	result, err := r.engine.Exec(r.Context(), r.container(service).ID, Exec{Cmd: []string{"/bin/sh", "-c", script}, User: user})
	r.must(err)
	if out := string(result.Stdout) + string(result.Stderr); result.ExitCode == 0 || !regexp.MustCompile(why).MatchString(out) {
		r.Errorf("%s as %q: %s: exit %d: %s", service, user, script, result.ExitCode, out)
	}
}

func TestEachServiceReadsItsOwnSecretsAndNobodyChangesThem(t *testing.T) {
	r := newRig(t, ownedSecrets)
	r.create()
	r.feed("ONE", canaryOne, "TWO", canaryTwo, "RUN", "#!/bin/sh\necho canary-ran\n")
	r.start("a", "b", "c")
	own := func(service, script string) string {
		t.Helper()
		result, err := r.engine.Exec(t.Context(), r.container(service).ID, Exec{Cmd: []string{"/bin/sh", "-c", script}})
		r.must(err)
		return strings.TrimSpace(string(result.Stdout))
	}
	list := "cd /run/secrets; stat -c '%n %u:%g %a' *; "
	r.equal("a", own("a", list+"cat ONE group"), "ONE 1000:1001 400\ngroup 0:1001 440\n"+canaryOne+canaryTwo)
	r.equal("b", own("b", list+"cat ONE"), "ONE 70:0 400\nothers 1000:0 400\n"+canaryOne)
	r.equal("c has its own alone", r.sh("c", "ls -A /run/secrets; grep -c /run/secrets /proc/mounts"), ".stage\nrun\n1")
	r.refused("b", "", "cat /run/secrets/others", "Permission denied")
	for _, service := range []string{"a", "b"} {
		r.refused(service, "", "ls /run/secrets/.stage", "Permission denied")
		r.refused(service, "", "cat /run/secrets/.stage/record", "Permission denied")
	}
	for service, users := range map[string][]string{"a": {"", "0"}, "b": {""}, "c": {"0", "64500"}} {
		for _, user := range users {
			result, err := r.engine.Exec(t.Context(), r.container(service).ID, Exec{Cmd: []string{"/bin/sh", "-c", meddle}, User: user})
			r.must(err)
			if out := string(result.Stdout); out != "tried 12\n" {
				t.Errorf("%s as %q: %s%s", service, user, out, result.Stderr)
			}
		}
	}
	r.refused("c", "0", "/run/secrets/run", "Permission denied")
	r.equal("what lies in c's", r.sh("c", "cd /run/secrets; find . ! -type d ! -type f; find . -type f -perm /7133"), "")
	if options := strings.Split(r.sh("c", "grep ' /run/secrets ' /proc/mounts | cut -d' ' -f4"), ","); !slices.Contains(options, "ro") {
		t.Errorf("/run/secrets is mounted %q", options)
	}
	r.equal("after all that", own("a", "cat /run/secrets/ONE /run/secrets/group"), canaryOne+canaryTwo)
	r.notInLayersNorInspect(canaryOne, canaryTwo, "canary-ran")
}

func TestKeeperContainerIsLockedDown(t *testing.T) {
	r := newRig(t, twoServices)
	r.create()
	r.feed("ONE", canaryOne, "TWO", canaryTwo)
	info, err := r.engine.docker.ContainerInspect(t.Context(), r.container(KeeperService).ID)
	r.must(err)
	h := info.HostConfig
	for what, right := range map[string]bool{
		"network": h.NetworkMode == "none", "root": h.ReadonlyRootfs, "pids": h.PidsLimit != nil && *h.PidsLimit == keeperPids, "restart": h.RestartPolicy.Name == container.RestartPolicyAlways,
		"log": h.LogConfig.Type == "none", "memory": h.Memory == keeperMemory && h.MemorySwap == keeperMemory, "privileges": !h.Privileged && slices.Contains(h.SecurityOpt, "no-new-privileges:true"),
		"capabilities": slices.Equal(h.CapDrop, []string{"ALL"}) && len(h.CapAdd) == 0, "user": info.Config.User == "64500:64500",
		"devices": len(h.Devices)+len(h.DeviceRequests) == 0, "binds": len(h.Binds) == 0, "ports": len(h.PortBindings) == 0, "namespaces": !h.PidMode.IsHost() && !h.IpcMode.IsHost() && !h.UTSMode.IsHost(),
		"standard input": !info.Config.OpenStdin && !info.Config.AttachStdin, "environment": !strings.Contains(fmt.Sprint(info.Config.Env), "canary"),
	} {
		if !right {
			t.Errorf("%s: %+v %+v", what, h, info.Config)
		}
	}
	for _, m := range info.Mounts {
		if m.Type != "volume" || m.Destination != keeperRoot && !strings.HasPrefix(m.Destination, keeperRoot+"/") {
			t.Errorf("it mounts %+v", m)
		}
	}
	r.keeperFromWithin(info.ID)
	r.keeperFromTheHost(info.State.Pid)
}

// keeperFromWithin has a container look around in the keeper's namespaces.
func (r *rig) keeperFromWithin(id string) {
	r.Helper()
	look, err := r.engine.docker.ContainerCreate(r.Context(), &container.Config{Image: testImage(), Labels: r.labels("look"), Entrypoint: []string{"/bin/sh", "-c",
		`grep -E '^(Uid|Gid|Cap...|NoNewPrivs|Seccomp):' /proc/1/status; tail -n +3 /proc/net/dev; grep ' / ' /proc/1/mounts; echo processes /proc/[0-9]*/exe; sleep 3600`}},
		&container.HostConfig{NetworkMode: container.NetworkMode("container:" + id), PidMode: container.PidMode("container:" + id), Tmpfs: map[string]string{"/data": ""}}, nil, nil, r.name+"-look")
	r.must(err)
	r.must(r.engine.Start(r.Context(), look.ID))
	var out strings.Builder
	r.eventually("it has looked around", func() bool {
		out.Reset()
		r.must(r.engine.Logs(r.Context(), look.ID, LogOptions{}, &out))
		return strings.Contains(out.String(), "processes")
	})
	seen := strings.Join(strings.Fields(out.String()), " ")
	zero := "0000000000000000"
	for _, want := range []string{"Uid: 64500 64500 64500 64500", "Gid: 64500 64500 64500 64500", "CapInh: " + zero, "CapPrm: " + zero, "CapEff: " + zero, "CapBnd: " + zero, "CapAmb: " + zero,
		"NoNewPrivs: 1", "Seccomp: 2", " / overlay ro,"} {
		if !strings.Contains(seen, want) {
			r.Errorf("from within, no %q: %s", want, out.String())
		}
	}
	if interfaces := regexp.MustCompile(`(?m)^ *([^ :]+):`).FindAllStringSubmatch(out.String()[strings.Index(out.String(), "Seccomp"):], -1); len(interfaces) != 2 || interfaces[1][1] != "lo" {
		r.Errorf("it has interfaces: %q", interfaces)
	}
	if n := strings.Count(seen[strings.Index(seen, "processes"):], "/exe"); n > 4 { // its own, the onlooker's shell and what that runs
		r.Errorf("%d processes: %s", n, seen)
	}
	r.must(r.engine.docker.ContainerRemove(r.Context(), look.ID, container.RemoveOptions{Force: true}))
}

// keeperFromTheHost reads what the kernel says of the keeper's first process, where the engine is on this machine.
func (r *rig) keeperFromTheHost(pid int) {
	r.Helper()
	if runtime.GOOS != "linux" {
		r.Log("the engine is on another machine; the limit was seen in inspect")
		return
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	r.must(err)
	limit := ""
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, file := range []string{filepath.Join("/sys/fs/cgroup/pids", parts[2], "pids.max"), filepath.Join("/sys/fs/cgroup", parts[2], "pids.max")} {
			if data, err := os.ReadFile(file); err == nil && (parts[1] == "pids" || parts[1] == "") {
				limit = strings.TrimSpace(string(data))
			}
		}
	}
	r.equal("its limit of processes", limit, keeperPids)
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	r.must(err)
	if strings.Contains(string(environ), "canary") {
		r.Errorf("its environment is %q", environ)
	}
	in, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/0", pid))
	r.must(err)
	r.equal("its standard input", in, "/dev/null")
}
