package stack

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"minibot/hint"
)

// stale leaves a socket on which nobody listens.
func (h *home) stale(socket string) {
	h.t.Helper()
	socket = filepath.Join(h.dir, socket)
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		h.t.Fatal(err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		h.t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	if err := listener.Close(); err != nil {
		h.t.Fatal(err)
	}
}

func TestKnownPlaces(t *testing.T) {
	for name, test := range map[string]struct {
		goos string
		set  func(*home)
		want []string
	}{
		"a Mac": {"darwin", func(*home) {}, []string{
			"Docker Desktop .docker/run/docker.sock", "OrbStack .orbstack/run/docker.sock", "Colima .colima/default/docker.sock", "the system's socket var.sock"}},
		"profiles of Colima": {"darwin", func(h *home) { h.stale(".colima/work/docker.sock"); h.stale(".colima/default/docker.sock") }, []string{
			"Docker Desktop .docker/run/docker.sock", "OrbStack .orbstack/run/docker.sock", "Colima .colima/default/docker.sock",
			`Colima "work" .colima/work/docker.sock`, "the system's socket var.sock"}},
		"Colima elsewhere": {"darwin", func(h *home) { h.env["COLIMA_HOME"] = filepath.Join(h.dir, "c"); h.env["XDG_CONFIG_HOME"] = "/x" }, []string{
			"Docker Desktop .docker/run/docker.sock", "OrbStack .orbstack/run/docker.sock", "Colima c/default/docker.sock", "the system's socket var.sock"}},
		"Linux": {"linux", func(h *home) { h.env["XDG_RUNTIME_DIR"] = filepath.Join(h.dir, "run") }, []string{
			"Docker Desktop .docker/desktop/docker.sock", "rootless Docker run/docker.sock", "Colima .config/colima/default/docker.sock", "the system's socket var.sock"}},
		"Linux without a session": {"linux", func(h *home) { h.file(".colima/colima.yaml", ""); h.env["XDG_CONFIG_HOME"] = "/x" }, []string{
			"Docker Desktop .docker/desktop/docker.sock", "rootless Docker .docker/run/docker.sock", "Colima .colima/default/docker.sock", "the system's socket var.sock"}},
		"Linux with XDG_CONFIG_HOME": {"linux", func(h *home) { h.env["XDG_CONFIG_HOME"] = filepath.Join(h.dir, "x") }, []string{
			"Docker Desktop .docker/desktop/docker.sock", "rootless Docker .docker/run/docker.sock", "Colima x/colima/default/docker.sock", "the system's socket var.sock"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			test.set(h)
			around := h.surroundings()
			around.goos = test.goos
			var got []string
			for _, c := range around.candidates("") {
				got = append(got, c.From+" "+strings.TrimPrefix(c.Host, "unix://"+h.dir+"/"))
				if c.Chosen || (c.Product == "") != (c.From == systemSocket) {
					t.Errorf("%+v", c)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// What a person named stands alone, and is known as the product whose place it is.
func TestChosenPlace(t *testing.T) {
	h := newHome(t)
	h.stale(".colima/work/docker.sock")
	h.env["DOCKER_HOST"] = "unix://" + h.dir + "/.orbstack/run/docker.sock"
	if err := os.Symlink(filepath.Join(h.dir, ".docker/run/docker.sock"), filepath.Join(h.dir, "var.sock")); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]Candidate{
		"": {Host: h.env["DOCKER_HOST"], From: "DOCKER_HOST", Chosen: true, Product: OrbStack},
		"unix://" + h.dir + "/.colima/work/docker.sock": {Host: "unix://" + h.dir + "/.colima/work/docker.sock",
			From: "docker_host or --docker-host", Chosen: true, Product: Colima, Profile: "work"},
		"unix://" + h.dir + "/var.sock": {Host: "unix://" + h.dir + "/var.sock", From: "docker_host or --docker-host", Chosen: true, Product: DockerDesktop},
		"tcp://127.0.0.1:2376":          {Host: "tcp://127.0.0.1:2376", From: "docker_host or --docker-host", Chosen: true},
	} {
		if got := h.surroundings().candidates(host); len(got) != 1 || got[0] != want {
			t.Errorf("%q: %+v", host, got)
		}
	}
}

// Every place that cannot be used has the next one asked, and the one in use says why.
func TestCandidatesSayWhatIsWrongWithEach(t *testing.T) {
	h := newHome(t)
	h.stale(".docker/run/docker.sock")
	h.serve(".colima/default/docker.sock", "28.5.2")
	h.serve("var.sock", "20.10.24")
	around := h.surroundings()
	list, err := around.askAll(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Docker Desktop nobody-listens ", "OrbStack no-socket ", "Colima answers 28.5.2", "the system's socket answers 20.10.24"}
	for i, c := range list {
		if got := fmt.Sprint(c.From, " ", c.Answer, " ", c.Version); got != want[i] || (c.Err == nil) != (c.Answer == Answers) {
			t.Errorf("got %q, %v, want %q", got, c.Err, want[i])
		}
	}
	around.uid += 1000 // these sockets are another user's now, unless that is root
	if os.Getuid() != 0 {
		if list, err = around.askAll(t.Context(), ""); err != nil || list[2].Answer != OthersSocket {
			t.Errorf("%+v, %v", list, err)
		}
	}
	h.env["DOCKER_HOST"] = "ssh://mini"
	if list, err = around.askAll(t.Context(), ""); err != nil || len(list) != 1 || list[0].Answer != NotSupported {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestAnotherUsersSocketIsNotAsked(t *testing.T) {
	h := newHome(t)
	h.serve(".docker/run/docker.sock", "28.5.2")
	h.serve("var.sock", "20.10.24")
	around := h.surroundings()
	theirs := filepath.Join(h.dir, ".docker/run/docker.sock")
	if os.Getuid() == 0 {
		if err := os.Chown(theirs, 4711, -1); err != nil {
			t.Fatal(err)
		}
	} else { // only root can give files away: all sockets are another one's
		around.uid++
	}
	list, err := around.askAll(t.Context(), "")
	if err != nil || list[0].Answer != OthersSocket {
		t.Fatalf("%+v, %v", list, err)
	}
	if e, err := around.dial(t.Context(), "unix://"+theirs); err != nil { // named by a person
		t.Error(err)
	} else if err := e.Close(); err != nil {
		t.Error(err)
	}
	if os.Getuid() != 0 {
		return
	}
	e, err := around.dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if want := "the system's socket; Docker Desktop: the socket belongs to another user"; e.Info().Reason != want || e.Info().Version != "20.10.24" {
		t.Errorf("%+v", e.Info())
	}
}

func TestPodmanIsNoEngine(t *testing.T) {
	h := newHome(t)
	h.serve("var.sock", `5.0.0","Components":[{"Name":"Podman Engine","Version":"5.0.0"}],"X":"`)
	_, err := h.surroundings().dial(t.Context(), "")
	if !IsUnreachable(err) || !strings.Contains(err.Error(), "Podman") {
		t.Errorf("%v", err)
	}
}

func TestEngineHintFitsTheSystem(t *testing.T) {
	h := newHome(t)
	around := h.surroundings()
	for goos, want := range map[string]string{"darwin": "OrbStack", "linux": "sudo systemctl start docker"} {
		around.goos = goos
		if _, err := around.dial(t.Context(), ""); !strings.Contains(hint.Of(err), want) {
			t.Errorf("%s: %q", goos, hint.Of(err))
		}
	}
	if got := engineHint("linux", []Candidate{{Answer: NotPermitted}}); !strings.Contains(got, "usermod -aG docker") {
		t.Errorf("%q", got)
	}
}

// What a user without a right sees: the kernel refuses root nothing, so this part of the test runs as somebody else.
const permissionHome = "MINIBOT_TEST_PERMISSION_HOME"

func TestSocketWithoutPermissionHasTheNextAsked(t *testing.T) {
	if dir := os.Getenv(permissionHome); dir != "" {
		dialWithoutPermission(t, dir)
		return
	}
	h := newHome(t)
	engine, ok := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	if !ok {
		engine = "/var/run/docker.sock"
	}
	real := dialReal(t) // a real engine's socket, behind one that this user may not use
	h.serve(".docker/run/docker.sock", "1.0.0")
	if err := os.Chmod(filepath.Join(h.dir, ".docker/run/docker.sock"), 0); err != nil {
		t.Fatal(err)
	}
	h.forward(".orbstack/run/docker.sock", engine)
	out := h.asSomebodyElse("TestSocketWithoutPermissionHasTheNextAsked")
	if want := real.Info().Version + " OrbStack; Docker Desktop: no permission\n"; !strings.Contains(out, want) {
		t.Errorf("%q lacks %q", out, want)
	}
}

func dialWithoutPermission(t *testing.T, dir string) {
	h := &home{t: t, dir: dir}
	around := h.surroundings()
	e, err := around.dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	fmt.Println(e.Info().Version, e.Info().Reason)
}

// forward lets a socket below home lead to another one, which this user may use.
func (h *home) forward(socket, target string) {
	h.t.Helper()
	socket = filepath.Join(h.dir, socket)
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		h.t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", target)
			if err != nil {
				_ = near.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
				go func() {
					defer pair[1].Close()
					_, _ = io.Copy(pair[1], pair[0]) // either side may hang up
				}()
			}
		}
	}()
}

// asSomebodyElse runs one test of this program with home for it: as another user where this one is root.
func (h *home) asSomebodyElse(test string) string {
	h.t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		h.t.Fatal(err)
	}
	program := filepath.Join(h.dir, "test")
	if err := os.WriteFile(program, self, 0o755); err != nil { // go test's own folder is closed to others
		h.t.Fatal(err)
	}
	cmd := exec.CommandContext(h.t.Context(), program, "-test.run=^"+test+"$")
	cmd.Env, cmd.Dir = append(os.Environ(), permissionHome+"="+h.dir, "DOCKER_HOST=", "HOME="+h.dir), h.dir
	if os.Getuid() == 0 {
		const nobody = 64999
		err := filepath.WalkDir(h.dir, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, nobody, nobody))
		})
		if err != nil {
			h.t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
