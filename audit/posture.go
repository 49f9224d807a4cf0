package audit

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"minibot/control"
	"minibot/stack"
)

// dangerous are the capabilities with which a process gets out of its container, or at the memory and the files of others.
var dangerous = []string{"ALL", "BPF", "DAC_READ_SEARCH", "NET_ADMIN", "PERFMON", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO"}

// where a service of minibot's has its secrets, and the keeper everything.
const (
	secretsTarget = "/run/secrets"
	composeAdvice = "in the compose file, then `minibotd reload`"
)

// postureFindings says which doors stand open. What concerns the services and the keeper of project is high or medium.
// The same about any other container is a note: whoever runs it has the engine already, and none of the secrets is given
// to it; that it may break out is worth knowing all the same. That a process runs as root, or is restarted by the engine,
// is said of the project only. postures is what [Engine.Postures] returned.
func postureFindings(project string, postures []stack.Posture) []control.Finding {
	var all []control.Finding
	var engine stack.Posture
	for _, p := range postures {
		if p.Container == "" {
			engine = p
			all = append(all, engineFindings(p)...)
		}
	}
	for _, p := range postures {
		if p.Container == "" {
			continue
		}
		f := &posture{Posture: p, ours: project != "" && p.Project == project}
		f.doors()
		if p.Keeper {
			f.keeper(engine)
		} else if f.ours {
			f.service()
		}
		all = append(all, f.found...)
	}
	return all
}

func engineFindings(p stack.Posture) []control.Finding {
	var all []control.Finding
	for _, endpoint := range p.Endpoints {
		all = append(all, control.Finding{Code: "engine-open", Severity: control.SeverityHigh, Place: "engine, " + endpoint,
			Message: "the engine takes orders over a network without TLS: whoever reaches it is root on its machine and reads every secret",
			Hint:    "remove the tcp:// host from the engine's configuration (daemon.json), or set up TLS"})
	}
	return all
}

// posture is one container while it is judged.
type posture struct {
	stack.Posture
	ours  bool
	found []control.Finding
}

// add notes a finding of the container; one that is not of the project is a note.
func (f *posture) add(code string, severity control.Severity, part, message, advice string) {
	finding := control.Finding{Code: code, Severity: severity, Place: "container " + f.Container, Message: message, Hint: advice}
	if part != "" {
		finding.Place += ", " + part
	}
	if f.ours {
		finding.Service = f.Service
	} else {
		finding.Severity = control.SeverityNote
		finding.Message += "; it is not of this project"
		finding.Hint = fmt.Sprintf("see whether you still need it: `docker inspect %s`", f.Container)
	}
	f.found = append(f.found, finding)
}

// doors are those that are open whoever the container belongs to.
func (f *posture) doors() {
	for _, p := range f.Ports {
		f.add("port-exposed", control.SeverityMedium, fmt.Sprintf("port %s:%s -> %s", bracketed(p.Address), p.Port, p.Target),
			"the port can be reached from beyond this machine", `publish it as "127.0.0.1:PORT:PORT" `+composeAdvice)
	}
	for _, m := range f.Mounts {
		switch socket, data := engineSocket(m), engineData(m); {
		case socket:
			f.add("engine-socket-mounted", control.SeverityHigh, "mount "+m.Source,
				"the engine's socket is mounted: whoever takes over the container is root on the engine's machine and reads every secret", "take the mount out "+composeAdvice)
		case data:
			f.add("privileged", control.SeverityMedium, "mount "+m.Source,
				"the engine's own files are mounted, those of every container and volume among them", "take the mount out "+composeAdvice)
		}
	}
	if f.Privileged {
		f.add("privileged", control.SeverityMedium, "HostConfig.Privileged",
			"the container is privileged: whoever takes it over is root on the engine's machine", "take `privileged: true` out "+composeAdvice)
	}
	for _, c := range f.Added {
		if slices.Contains(dangerous, c) {
			f.add("privileged", control.SeverityMedium, "capability "+c,
				"with this capability a process gets at what is not its container's", "take it out of cap_add "+composeAdvice)
		}
	}
	for _, space := range f.HostSpaces {
		key := map[string]string{"network": "network_mode", "user": "userns_mode"}[space]
		if key == "" {
			key = space
		}
		f.add("privileged", control.SeverityMedium, "namespace "+space,
			"the container shares the machine's "+space+" namespace", "take `"+key+": host` out "+composeAdvice)
	}
}

func bracketed(address string) string {
	if strings.Contains(address, ":") {
		return "[" + address + "]"
	}
	return address
}

// engineSocket reports whether a mount has the socket of a container engine in it.
func engineSocket(m stack.Mount) bool {
	if !m.Bind {
		return false
	}
	source := path.Clean(m.Source)
	switch path.Base(source) {
	case "docker.sock", "docker.raw.sock", "containerd.sock", "podman.sock":
		return true
	}
	return slices.Contains([]string{"/", "/run", "/var", "/var/run", "/run/containerd"}, source)
}

// engineData reports whether a mount has the files of the engine in it.
func engineData(m stack.Mount) bool {
	source := path.Clean(m.Source)
	return m.Bind && (source == "/var/lib" || source == "/var/lib/docker" || strings.HasPrefix(source, "/var/lib/docker/"))
}

// service judges a service of the project.
func (f *posture) service() {
	switch {
	case f.Unseen != nil:
		f.add("user-unknown", control.SeverityNote, "", "its processes could not be listed, so whether one runs as root is not known", "run the audit again, or look with `docker top "+f.Container+"`")
	case f.Root:
		f.add("runs-as-root", control.SeverityMedium, "", "a process of the service runs as root",
			"give the service a `user:`, or use an image that drops its privileges, "+composeAdvice)
	}
	if f.Restart != "no" {
		f.add("restart-policy", control.SeverityMedium, "HostConfig.RestartPolicy",
			"the engine would restart the service by itself, without its secrets", "`docker update --restart=no "+f.Container+"`: minibotd restarts it")
	}
	for _, m := range f.Mounts {
		switch {
		case m.Target != secretsTarget:
		case !m.Memory:
			f.add("secrets-on-disk", control.SeverityHigh, "mount "+m.Target, "the service's secrets lie on disk",
				"`docker rm -f "+f.Container+"`: minibotd makes it anew")
		case !m.ReadOnly:
			f.add("secrets-writable", control.SeverityMedium, "mount "+m.Target, "the service could replace its own secrets' files",
				"`docker rm -f "+f.Container+"`: minibotd makes it anew")
		}
	}
}

// keeper judges the container that holds what was delivered.
func (f *posture) keeper(engine stack.Posture) {
	weak := func(part, message string) {
		f.add("keeper-weakened", control.SeverityMedium, part, message, "`docker rm -f "+f.Container+"`: minibotd makes it anew and delivers again")
	}
	for _, rule := range []struct {
		held          bool
		part, message string
	}{
		{f.Network == "none", "HostConfig.NetworkMode", "the keeper has a network"},
		{f.DropsAll && len(f.Added) == 0, "HostConfig.CapDrop", "the keeper has capabilities"},
		{f.ReadOnly, "HostConfig.ReadonlyRootfs", "the keeper's root can be written"},
		{f.NoNew, "HostConfig.SecurityOpt", "the keeper's process may gain privileges"},
		{f.Pids > 0, "HostConfig.PidsLimit", "the keeper may have any number of processes"},
	} {
		if !rule.held {
			weak(rule.part, rule.message)
		}
	}
	swapped := false
	for _, m := range f.Mounts {
		options := strings.Split(m.Options, ",")
		if !m.Memory {
			weak("mount "+m.Target, "the keeper holds files on disk")
			continue
		}
		for _, option := range []string{"nosuid", "nodev", "noexec"} {
			if !slices.Contains(options, option) {
				weak("mount "+m.Target, "the volume is mounted without "+option)
			}
		}
		if !slices.Contains(options, "noswap") && engine.Swap != "off" {
			if engine.Noswap {
				weak("mount "+m.Target, "the volume may be written to the swap, which the engine's kernel could prevent")
			}
			swapped = !engine.Noswap
		}
	}
	if swapped {
		f.add("swap", control.SeverityNote, "", "delivered secrets may be written to the swap of the engine's machine: its kernel cannot keep them out",
			"turn its swap off or encrypt it; Linux 6.4 and later keeps them out by itself")
	}
}
