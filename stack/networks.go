package stack

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

// endpoint is one network that a service's container is to be in.
type endpoint struct {
	network string // the engine's name for it
	aliases []string
	plain   bool // has nothing of its own but aliases
}

// endpoints are those of a service, by name; none where the container lives in the network of the host, of another one, or in none.
func (p *Project) endpoints(service string) []endpoint {
	s := p.rewritten.Services[service]
	if s.NetworkMode != "" {
		return nil
	}
	var all []endpoint
	for _, key := range slices.Sorted(maps.Keys(s.Networks)) {
		n := endpoint{network: p.rewritten.Networks[key].Name, aliases: []string{p.container(service), service}, plain: s.MacAddress == "" && len(s.Links)+len(s.ExternalLinks) == 0}
		if config := s.Networks[key]; config != nil {
			n.aliases = append(n.aliases, config.Aliases...)
			n.plain = n.plain && config.Ipv4Address+config.Ipv6Address+config.MacAddress+config.InterfaceName == "" &&
				len(config.LinkLocalIPs)+len(config.DriverOpts)+config.GatewayPriority == 0
		}
		if container.NetworkMode(n.network).IsUserDefined() {
			all = append(all, n)
		}
	}
	return all
}

// detached are the endpoints that a container lacks, or has without the service's name, as after a `docker network connect` by hand.
func (p *Project) detached(service string, in memberships) []endpoint {
	return slices.DeleteFunc(p.endpoints(service), func(n endpoint) bool { return in.has(n.network, service) })
}

func (c Container) detachedFrom(p *Project) string {
	var names []string
	for _, n := range p.detached(c.Service, c.networks) {
		names = append(names, n.network)
	}
	return strings.Join(names, ", ")
}

// memberships are the networks of a container and its aliases in them, as lines NETWORK/ and NETWORK/ALIAS: a text, so that what is known of
// containers can be compared.
type memberships string

func membershipsOf(settings map[string]*network.EndpointSettings) memberships {
	lines := []string{""}
	for name, s := range settings {
		lines = append(lines, name+"/")
		if s != nil {
			for _, alias := range s.Aliases {
				lines = append(lines, name+"/"+alias)
			}
		}
	}
	slices.Sort(lines)
	return memberships(strings.Join(lines, "\n") + "\n")
}

// has tells whether the container is in a network under an alias, or at all for "".
func (m memberships) has(network, alias string) bool {
	return strings.Contains(string(m), "\n"+network+"/"+alias+"\n")
}

// endpointIDs tells one connection of a container to its networks from another one.
func endpointIDs(settings map[string]*network.EndpointSettings) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		text.WriteString(name + " ")
		if s := settings[name]; s != nil {
			text.WriteString(s.EndpointID)
		}
		text.WriteByte('\n')
	}
	return text.String()
}

// Connect brings the container of a service back into the networks that [Container.Detached] names. It goes on running. ErrNetworkMissing where that takes
// another container, made by [Engine.Recreate]: the network is not there, or the service has an address, a driver's option or the like in it.
func (e *Engine) Connect(ctx context.Context, p *Project, service, id string) error {
	defer e.touch(id)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := e.inspect(ctx, id)
	if err != nil {
		return wrapContainer(err, "inspect container %s", shortID(id))
	}
	for _, n := range p.detached(service, c.networks) {
		if !n.plain {
			return fmt.Errorf("connect container %s to %s: it has settings of its own there: %w", c.Name, n.network, ErrNetworkMissing)
		}
		if c.networks.has(n.network, "") {
			if err := e.docker.NetworkDisconnect(ctx, n.network, id, true); err != nil {
				return wrapContainer(err, "disconnect container %s from %s", c.Name, n.network)
			}
		}
		if err := e.docker.NetworkConnect(ctx, n.network, id, &network.EndpointSettings{Aliases: n.aliases}); err != nil {
			return wrapContainer(err, "connect container %s to %s", c.Name, n.network)
		}
	}
	return nil
}
