package stack

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestResidentsGoOnWithoutOne has an engine that lists containers of which one vanished and two cannot be inspected.
func TestResidentsGoOnWithoutOne(t *testing.T) {
	const labels = `"Labels":{"com.docker.compose.project":"p","com.docker.compose.service":"s"}`
	engine := fakeEngine{
		"/containers/json": says(`[{"Id":"gone","Names":["/gone"]},{"Id":"dead","Names":["/dead"],"State":"running","Ports":[{"PublicPort":6379},{"PrivatePort":1}],` + labels +
			`},{"Id":"hollow","Names":[]},{"Id":"well","Names":["/well"]}]`),
		"/containers/gone/json":   refuses(http.StatusNotFound, "No such container: gone"),
		"/containers/dead/json":   refuses(http.StatusInternalServerError, "layer does not exist"),
		"/containers/hollow/json": says(`{}`),
		"/containers/well/json":   says(`{"Id":"well","Name":"/well","State":{"Running":true},"HostConfig":{},"Config":{}}`),
	}
	all, err := engine.engine(t).Residents(t.Context())
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	dead, hollow, well := all[0], all[1], all[2]
	if dead.Unseen == nil || !strings.Contains(dead.Unseen.Error(), "layer does not exist") || dead.Name != "dead" || dead.Project != "p" || dead.Service != "s" ||
		!dead.Running || !slices.Equal(dead.Ports, []string{"6379"}) {
		t.Errorf("dead: %+v", dead)
	}
	if hollow.Unseen == nil || hollow.Name != "hollow" || hollow.Running {
		t.Errorf("hollow: %+v", hollow)
	}
	if well.Unseen != nil || !well.Running {
		t.Errorf("well: %+v", well)
	}
	delete(engine, "/containers/json")
	if all, err := engine.engine(t).Residents(t.Context()); err == nil {
		t.Errorf("an engine that lists nothing: %+v", all)
	}
}

// TestRetireLeavesWhatWouldBeRemoved asks the engine for nothing that would end a container of docker run --rm.
func TestRetireLeavesWhatWouldBeRemoved(t *testing.T) {
	ask := func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s", r.Method, r.URL)
		w.WriteHeader(http.StatusNoContent)
	}
	engine := fakeEngine{
		"/containers/c/json":   says(`{"Id":"c","Name":"/c","State":{"Running":true},"HostConfig":{"AutoRemove":true},"Config":{}}`),
		"/containers/c/update": ask, "/containers/c/kill": ask, "/containers/c/stop": ask,
	}
	if err := engine.engine(t).Retire(t.Context(), "c", "SIGINT"); !errors.Is(err, ErrFleeting) {
		t.Errorf("retired: %v", err)
	}
}
