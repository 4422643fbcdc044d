//go:build lab

package scenario

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// Where the example of contrib/authorize listens on the hub, and where its list is.
const (
	authorizerSocket = "/run/cygnet-authorize.sock"
	routersFile      = "/etc/cygnet/routers"
)

// authorizer starts the example of contrib/authorize on the hub.
func authorizer(m *lab.Mesh) *lab.Process {
	m.Helper()
	root, err := lab.Root()
	if err != nil {
		m.Fatalf("%v", err)
	}
	return m.Hub.Router.Start("authorizer", nil, "/usr/bin/python3",
		filepath.Join(root, "contrib/authorize/cygnet-authorize"),
		"--routers", routersFile, "--socket", authorizerSocket)
}

// list writes the list of routers on the hub.
func list(m *lab.Mesh, lines ...string) {
	m.Hub.WriteFile(routersFile, 0o644, strings.Join(lines, "\n")+"\n")
}

// refusedByHub awaits that the hub refuses a spoke, and that the spoke's status says so.
func refusedByHub(m *lab.Mesh, s *lab.Site, within time.Duration) {
	m.Helper()
	m.Await("the hub refuses "+s.Name, within, func() error {
		n, err := nhs(s)
		if err != nil {
			return err
		}
		return lab.True(n.State == api.NHSRefused &&
			contains(n.Error, "administratively prohibited"), "%+v", n)
	})
}

// hubAuthorizer awaits that the hub's status says something of its authorizer.
func hubAuthorizer(m *lab.Mesh, what string, holds func(*api.Status, *api.Authorizer) bool) {
	m.Helper()
	m.Await(what, later, func() error {
		st, err := status(m.Hub)
		if err != nil {
			return err
		}
		a := st.Interfaces[0].Authorizer
		return lab.True(a != nil && holds(&st, a), "%+v, problems %+v", a, st.Problems)
	})
}

// silentProblem reports whether a status has the problem of a silent authorizer.
func silentProblem(st *api.Status) bool {
	return slices.ContainsFunc(st.Problems,
		func(p api.Problem) bool { return p.Code == api.ProblemAuthorizer })
}

// A program of the site decides which spokes register. When it is gone, the spoke that registered
// goes on without a lost packet, even when the answer about it has ended, and a new spoke gets the
// default. When it is back, the new spoke is told of its refusal. When it changes its mind, the new
// spoke is in, and the one that was allowed is out.
func TestAuthorizer(t *testing.T) {
	m := lab.NewMesh(t)
	m.Hub.Interface = append(m.Hub.Interface, fmt.Sprintf("authorize = %q", authorizerSocket))
	list(m, "spoke1.* allow ttl=5")
	program := authorizer(m)
	m.Hub.Start()
	hubAuthorizer(m, "the hub is connected to the authorizer",
		func(st *api.Status, a *api.Authorizer) bool { return a.Connected && !silentProblem(st) })
	m.Spoke1.Start()
	registered(m, m.Spoke1, soon)
	if out := m.Hub.Cygnet("explain", m.Spoke1.Overlay.String()); !contains(out,
		"the authorizer at "+authorizerSocket+" allows it") {
		t.Errorf("explain does not name the authorizer:\n%s", out)
	}

	start := time.Now()
	flow := m.Spoke1.Host.Flow(m.Hub.Host.Addr, 20*time.Millisecond)
	flow.Back(start, soon)
	program.Terminate()
	hubAuthorizer(m, "the hub's status says that there is no authorizer",
		func(st *api.Status, a *api.Authorizer) bool { return !a.Connected && silentProblem(st) })
	m.Spoke2.Start()
	refusedByHub(m, m.Spoke2, soon)
	loggedAt(m, m.Hub, "request refused", "identity=spoke2.example.net",
		"the authorizer does not answer")
	m.Await("the answer about spoke1 has ended, and nobody has answered", soon, func() error {
		out := m.Hub.Cygnet("explain", m.Spoke1.Overlay.String())
		return lab.True(contains(out, "is asked again now"), "%s", out)
	})
	registered(m, m.Spoke1, soon)

	list(m, "spoke1.* allow ttl=5", "spoke2.* refuse the contract has ended")
	program = authorizer(m)
	loggedAt(m, m.Hub, "the authorizer answers again")
	// After some refusals spoke2's own next attempt may be most of a minute away.
	_, _ = m.Spoke2.TryCygnet("register", "now") // it fails: spoke2 is refused
	loggedAt(m, m.Hub, "request refused", "identity=spoke2.example.net",
		"the authorizer refuses spoke2.example.net: the contract has ended")
	refusedByHub(m, m.Spoke2, soon)
	list(m, "spoke1.* allow ttl=5", "spoke2.* allow")
	registered(m, m.Spoke2, later)
	flow.Back(time.Now(), soon)
	lossless(m, start, []*lab.Flow{flow})
	flow.Stop()

	list(m, "spoke1.* refuse reported as stolen", "spoke2.* allow")
	loggedAt(m, m.Hub, "binding ended", "identity=spoke1.example.net",
		"the authorizer refuses spoke1.example.net: reported as stolen")
	refusedByHub(m, m.Spoke1, soon)
	m.Await("the hub's kernel has nothing of spoke1", soon, func() error {
		at, there := m.Hub.Neighbors("gre1")[m.Spoke1.Overlay]
		return lab.True(!there, "the hub has %s at %s", m.Spoke1.Overlay, at)
	})
	registered(m, m.Spoke2, soon)
	if !program.Alive() {
		t.Errorf("the authorizer has ended:\n%s", program.Output())
	}
	encrypted(m)
}
