package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// envListen has this program listen on an address until it is ended, and do nothing else.
const envListen = "MINIBOT_TEST_LISTEN"

// listenIfAsked does not return where envListen is set.
func listenIfAsked() {
	address := os.Getenv(envListen)
	if address == "" {
		return
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	fmt.Println("listening")
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		_ = conn.Close() // there is nothing to say
	}
}

// holdPort has a process of its own listen on a port of this machine.
func holdPort(t *testing.T, port string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), envListen+"=127.0.0.1:"+port)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() {
		defer close(ended)
		_ = cmd.Wait() // a signal ends it
	}()
	if err != nil || line != "listening\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

// TestDoctorMendsWhatTheEngineHas plants faults that only a real engine shows. A stand-in of docker takes the image that is to
// be pulled from this machine: no registry is asked.
func TestDoctorMendsWhatTheEngineHas(t *testing.T) {
	t.Parallel()
	p := sound(t)
	docker, err := exec.LookPath("docker")
	p.must(err)
	host := os.Getenv("DOCKER_HOST")
	p.env = append(p.env, "DOCKER_HOST="+host)
	name := fmt.Sprintf("mbt-doctor-%d", os.Getpid())
	t.Cleanup(func() { // both may be gone
		for _, rm := range [][]string{{"rm", "-f", name}, {"rmi", name + ":1"}} {
			cmd := exec.Command(docker, rm...)
			cmd.Env = p.env
			_ = cmd.Run()
		}
	})
	port, local := freePort(t), image("MINIBOT_REDIS_IMAGE")
	p.write("config.toml", fmt.Sprintf("store = \"age\"\ndocker_host = %q\n[env]\nIMAGE = %q\nPORT = %q\n", host, local, port))
	p.write("compose.yaml", strings.Replace(soundCompose, "image: minibot/redis:local", "image: \"${IMAGE}\"\n    ports: [ \"127.0.0.1:${PORT}:6379\" ]", 1))
	for _, f := range p.doctor() {
		if f.Check == "engine" || f.Check == "images" || f.Check == "ports" || f.Check == "clock" || f.Check == "compose" {
			t.Fatalf("nothing is planted yet: %+v", f)
		}
	}
	pull := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = pull ]; then exec %s tag %s \"$2\"; fi\nexec %s \"$@\"\n", docker, local, docker)
	p.must(os.WriteFile(filepath.Join(p.bin, "docker"), []byte(pull), 0o700))

	holdPort(t, port)
	p.heal("ports", "is held by ", "kill ", "")

	p.shell(fmt.Sprintf("docker run -d --rm --stop-timeout 1 --name %s -p 127.0.0.1:%s:6379 --entrypoint sleep %s 600", name, port, local), "")
	p.heal("ports", "is held by container "+name, "docker stop "+name, "")

	p.write("config.toml", fmt.Sprintf("store = \"age\"\ndocker_host = %q\n[env]\nIMAGE = %q\nPORT = %q\n", host, name+":1", port))
	p.heal("images", "image "+name+":1 of service web is not there", "docker pull "+name+":1", "")
}
