package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
)

// clients are the engines' clients by endpoint: what is asked over and over need not cost a process of the docker command each time.
var clients sync.Map

// inspect asks the engine for a service's container.
func (in *installation) inspect(service string) (container.InspectResponse, error) {
	host := cmp.Or(in.engine, os.Getenv("DOCKER_HOST"), client.DefaultDockerHost)
	c, ok := clients.Load(host)
	if !ok {
		made, err := client.NewClientWithOpts(client.WithHost(host), client.WithAPIVersionNegotiation())
		if err != nil {
			return container.InspectResponse{}, err
		}
		c, _ = clients.LoadOrStore(host, made)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return c.(*client.Client).ContainerInspect(ctx, in.container(service))
}

// lastRun is one run of a service's container, as "2026-01-02T03:04:05.678Z true": when it was last started, and whether it still runs.
func (in *installation) lastRun(service string) (string, error) {
	c, err := in.inspect(service)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %t", c.State.StartedAt, c.State.Running), nil
}

// started is lastRun, which there must be.
func (in *installation) started(service string) string {
	in.t.Helper()
	run, err := in.lastRun(service)
	if err != nil {
		in.t.Fatal(err)
	}
	return run
}

// runsSince tells whether a service runs for another time than before.
func (in *installation) runsSince(service, before string) bool {
	now, err := in.lastRun(service)
	return err == nil && now != before && strings.HasSuffix(now, "true")
}
