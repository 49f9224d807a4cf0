package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"minibot/control"
	"minibot/stack"
)

// sound is how the shipped stack stands: the engine, the keeper, and a service with secrets.
func sound() (engine, keeper, service stack.Posture) {
	engine = stack.Posture{Swap: "on", Noswap: true}
	options := "size=16m,mode=0755,nosuid,nodev,noexec,noswap"
	keeper = stack.Posture{Container: "p-keeper-1", Project: "p", Service: "keeper", Running: true, Keeper: true, Root: true, DropsAll: true,
		Network: "none", ReadOnly: true, NoNew: true, Pids: 16, Restart: "always",
		Mounts: []stack.Mount{{Target: "/s", Source: "p_secrets", Memory: true, Options: options}, {Target: "/s/redis", Source: "p_secrets-redis", Memory: true, Options: options}}}
	service = stack.Posture{Container: "p-redis", Project: "p", Service: "redis", Running: true, DropsAll: true, Added: []string{"CHOWN", "SETUID"},
		Network: "p_net", NoNew: true, Pids: 64, Restart: "no",
		Mounts: []stack.Mount{{Target: "/data", Source: "p_redisdata"}, {Target: "/run/secrets", Source: "p_secrets-redis", Memory: true, ReadOnly: true, Options: options}}}
	return engine, keeper, service
}

func texts(list []control.Finding) []string {
	var out []string
	for _, f := range list {
		out = append(out, fmt.Sprintf("%s %s %s", f.Severity, f.Code, f.Place))
	}
	slices.Sort(out)
	return out
}

func TestASoundStackHasNoOpenDoor(t *testing.T) {
	engine, keeper, service := sound()
	if got := postureFindings("p", []stack.Posture{engine, keeper, service}); len(got) > 0 {
		t.Errorf("found %v", texts(got))
	}
}

func TestEachOpenDoorOfAServiceIsFound(t *testing.T) {
	for name, test := range map[string]struct {
		open func(*stack.Posture)
		want string
		note bool // of another project's container it is one; otherwise it is no finding there
	}{
		"a port on every address": {func(p *stack.Posture) {
			p.Ports = []stack.PublishedPort{{Address: "0.0.0.0", Port: "80", Target: "8080/tcp"}}
		},
			"medium port-exposed container p-redis, port 0.0.0.0:80 -> 8080/tcp", true},
		"a port on every address of IPv6": {func(p *stack.Posture) {
			p.Ports = []stack.PublishedPort{{Address: "::", Port: "80", Target: "8080/tcp"}}
		},
			"medium port-exposed container p-redis, port [::]:80 -> 8080/tcp", true},
		"the engine's socket": {func(p *stack.Posture) {
			p.Mounts = append(p.Mounts, stack.Mount{Target: "/x", Source: "/var/run/docker.sock", Bind: true, ReadOnly: true})
		}, "high engine-socket-mounted container p-redis, mount /var/run/docker.sock", true},
		"the folder of the engine's socket": {func(p *stack.Posture) {
			p.Mounts = append(p.Mounts, stack.Mount{Target: "/x", Source: "/run", Bind: true})
		}, "high engine-socket-mounted container p-redis, mount /run", true},
		"the engine's data": {func(p *stack.Posture) {
			p.Mounts = append(p.Mounts, stack.Mount{Target: "/x", Source: "/var/lib/docker/volumes", Bind: true})
		}, "medium privileged container p-redis, mount /var/lib/docker/volumes", true},
		"privileged":                {func(p *stack.Posture) { p.Privileged = true }, "medium privileged container p-redis, HostConfig.Privileged", true},
		"a dangerous capability":    {func(p *stack.Posture) { p.Added = append(p.Added, "SYS_PTRACE") }, "medium privileged container p-redis, capability SYS_PTRACE", true},
		"the machine's processes":   {func(p *stack.Posture) { p.HostSpaces = []string{"pid"} }, "medium privileged container p-redis, namespace pid", true},
		"the machine's network":     {func(p *stack.Posture) { p.HostSpaces = []string{"network"} }, "medium privileged container p-redis, namespace network", true},
		"root":                      {func(p *stack.Posture) { p.Root = true }, "medium runs-as-root container p-redis", false},
		"processes that nobody saw": {func(p *stack.Posture) { p.Unseen = errors.New("no ps") }, "note user-unknown container p-redis", false},
		"a restart policy":          {func(p *stack.Posture) { p.Restart = "unless-stopped" }, "medium restart-policy container p-redis, HostConfig.RestartPolicy", false},
		"secrets on disk":           {func(p *stack.Posture) { p.Mounts[1].Memory = false }, "high secrets-on-disk container p-redis, mount /run/secrets", false},
		"secrets that it can write": {func(p *stack.Posture) { p.Mounts[1].ReadOnly = false }, "medium secrets-writable container p-redis, mount /run/secrets", false},
	} {
		t.Run(name, func(t *testing.T) {
			engine, keeper, service := sound()
			test.open(&service)
			postures := []stack.Posture{engine, keeper, service}
			found := postureFindings("p", postures)
			if got := texts(found); !slices.Equal(got, []string{test.want}) {
				t.Errorf("got %v, want %s", got, test.want)
			}
			for _, f := range found {
				if f.Service != "redis" || f.Message == "" || f.Hint == "" {
					t.Errorf("%+v lacks a service, a message or a hint", f)
				}
			}
			others := postureFindings("another", postures)
			switch {
			case !test.note && len(others) > 0:
				t.Errorf("as another project's: %v", texts(others))
			case test.note && (len(others) != 1 || others[0].Severity != control.SeverityNote || others[0].Service != "" || !strings.Contains(others[0].Message, "not of this project")):
				t.Errorf("as another project's: %+v", others)
			}
		})
	}
}

func TestEachWeaknessOfTheKeeperIsFound(t *testing.T) {
	drop := func(option string) func(*stack.Posture, *stack.Posture) {
		return func(keeper, _ *stack.Posture) {
			keeper.Mounts[1].Options = strings.ReplaceAll(keeper.Mounts[1].Options, ","+option, "")
		}
	}
	for name, test := range map[string]struct {
		weaken func(keeper, engine *stack.Posture)
		want   string
	}{
		"a network":               {func(k, _ *stack.Posture) { k.Network = "bridge" }, "medium keeper-weakened container p-keeper-1, HostConfig.NetworkMode"},
		"capabilities":            {func(k, _ *stack.Posture) { k.DropsAll = false }, "medium keeper-weakened container p-keeper-1, HostConfig.CapDrop"},
		"a capability":            {func(k, _ *stack.Posture) { k.Added = []string{"CHOWN"} }, "medium keeper-weakened container p-keeper-1, HostConfig.CapDrop"},
		"a writable root":         {func(k, _ *stack.Posture) { k.ReadOnly = false }, "medium keeper-weakened container p-keeper-1, HostConfig.ReadonlyRootfs"},
		"new privileges":          {func(k, _ *stack.Posture) { k.NoNew = false }, "medium keeper-weakened container p-keeper-1, HostConfig.SecurityOpt"},
		"any number of processes": {func(k, _ *stack.Posture) { k.Pids = 0 }, "medium keeper-weakened container p-keeper-1, HostConfig.PidsLimit"},
		"disk":                    {func(k, _ *stack.Posture) { k.Mounts[1].Memory = false }, "medium keeper-weakened container p-keeper-1, mount /s/redis"},
		"setuid files":            {drop("nosuid"), "medium keeper-weakened container p-keeper-1, mount /s/redis"},
		"devices":                 {drop("nodev"), "medium keeper-weakened container p-keeper-1, mount /s/redis"},
		"programs":                {drop("noexec"), "medium keeper-weakened container p-keeper-1, mount /s/redis"},
		"swap":                    {drop("noswap"), "medium keeper-weakened container p-keeper-1, mount /s/redis"},
		"swap, and a kernel that cannot do without": {func(k, e *stack.Posture) { drop("noswap")(k, e); e.Noswap = false }, "note swap container p-keeper-1"},
		"nothing: no swap":                          {func(k, e *stack.Posture) { drop("noswap")(k, e); e.Swap = "off" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			engine, keeper, service := sound()
			test.weaken(&keeper, &engine)
			if got := strings.Join(texts(postureFindings("p", []stack.Posture{engine, keeper, service})), "; "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestAnEngineThatIsOpenToTheNetworkIsFound(t *testing.T) {
	got := texts(postureFindings("", []stack.Posture{{Endpoints: []string{"http://0.0.0.0:2375"}}}))
	if want := []string{"high engine-open engine, http://0.0.0.0:2375"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
