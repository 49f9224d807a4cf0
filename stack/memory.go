package stack

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/versions"
)

const (
	// The keeper's user, who owns the volumes: nobody's anywhere else, and among the 65536 that a rootless engine has.
	keeperUser = 64500
	// What the keeper's processes may have. Its own take some KiB; what an engine starts in it to run them, some MiB.
	keeperMemory = 64 << 20
	keeperPids   = 16

	memoryOptions = "size=16m,mode=0755,uid=64500,gid=64500,nosuid,nodev,noexec"
	noswapOption  = ",noswap"
)

// addKeeper puts the memory-backed volumes and the container that holds them into the project.
func (p *Project) addKeeper() {
	c := types.ServiceConfig{Name: KeeperService, Restart: types.RestartPolicyAlways}
	c.PullPolicy, c.StopSignal = types.PullPolicyNever, "SIGKILL"
	c.User = fmt.Sprintf("%d:%d", keeperUser, keeperUser)
	c.NetworkMode, c.ReadOnly, c.PidsLimit = "none", true, keeperPids
	c.MemLimit, c.MemSwapLimit = keeperMemory, keeperMemory // no swap
	c.CapDrop, c.SecurityOpt = []string{"ALL"}, []string{"no-new-privileges:true"}
	c.Logging = &types.LoggingConfig{Driver: "none"}
	c.Volumes = []types.ServiceVolumeConfig{memoryMount(recordVolume, keeperRoot, false)}
	p.rewritten.Volumes[recordVolume] = memoryVolume(p.Name, recordVolume)
	for name, service := range p.Services {
		if len(service.Files) > 0 {
			c.Volumes = append(c.Volumes, memoryMount(volumePrefix+name, path.Join(keeperRoot, name), false))
			p.rewritten.Volumes[volumePrefix+name] = memoryVolume(p.Name, volumePrefix+name)
		}
	}
	slices.SortFunc(c.Volumes, func(a, b types.ServiceVolumeConfig) int { return cmp.Compare(a.Target, b.Target) })
	p.rewritten.Services[KeeperService] = c
}

func memoryVolume(project, key string) types.VolumeConfig {
	return types.VolumeConfig{Name: project + "_" + key, Driver: "local",
		DriverOpts: types.Options{"type": "tmpfs", "device": "tmpfs", "o": memoryOptions}}
}

func memoryMount(key, target string, readOnly bool) types.ServiceVolumeConfig {
	return types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Source: key, Target: target, ReadOnly: readOnly,
		Volume: &types.ServiceVolumeVolume{NoCopy: true}}
}

// memoryVolumes are the keys of the project's memory-backed volumes.
func (p *Project) memoryVolumes() []string {
	keys := []string{recordVolume}
	for name, service := range p.Services {
		if len(service.Files) > 0 {
			keys = append(keys, volumePrefix+name)
		}
	}
	slices.Sort(keys)
	return keys
}

// forEngine is the project as this engine gets it. Compose changes what it is given, so it is a copy.
func (p *Project) forEngine(program []byte, noswap bool) *types.Project {
	c := p.rewritten.WithoutUnresolvedOptionalDependencies()
	k := c.Services[KeeperService]
	k.Image = keeperImage(program)
	c.Services[KeeperService] = k
	if noswap {
		for _, key := range p.memoryVolumes() {
			c.Volumes[key].DriverOpts["o"] = memoryOptions + noswapOption
		}
	}
	return c
}

// keeperImage is the image's name for one program: another program is another image.
func keeperImage(program []byte) string {
	sum := sha256.Sum256(program)
	return "minibot/keeper:" + hex.EncodeToString(sum[:6])
}

// namesSeccomp reports whether an engine filters system calls and knows its own profile by name: version 23 and later.
func namesSeccomp(api string, securityOptions []string) bool {
	return versions.GreaterThanOrEqualTo(api, "1.42") &&
		slices.ContainsFunc(securityOptions, func(o string) bool { return strings.HasPrefix(o, "name=seccomp") })
}

// hasNoswap reports whether tmpfs takes the option noswap: Linux 6.4 and later, and not for an unprivileged engine.
func hasNoswap(kernel string, securityOptions []string) bool {
	if slices.ContainsFunc(securityOptions, func(o string) bool { return strings.Contains(o, "rootless") || strings.Contains(o, "userns") }) {
		return false
	}
	parts := strings.SplitN(kernel, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	minor, err := strconv.Atoi(strings.TrimRightFunc(parts[1], func(r rune) bool { return r < '0' || r > '9' }))
	if err != nil {
		return false
	}
	return major > 6 || major == 6 && minor >= 4
}
