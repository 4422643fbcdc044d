//go:build lab

package scenario

import (
	"errors"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// secureFRR runs charon on a site where FRR is to run, with the example's one connection for all
// other routers.
func secureFRR(m *lab.Mesh, s *lab.Site) {
	m.Helper()
	s.WriteFile("/etc/swanctl/swanctl.conf", 0o600, replace(contrib(m, "swanctl/frr.conf"),
		"198.51.100.11", s.Public.String(), "spoke1.example.net", s.Name+".example.net",
		"the key that the other routers have", s.PSK))
	s.Charon = s.Router.Charon()
	s.Run("swanctl", "--load-all")
}

// Our spoke and an FRR spoke find each other through our hub, under IPsec and with a GRE key. FRR's
// charon dials by policies, ours is driven by the daemon. FRR's spoke answers no probes: the status
// of the direct path to it is "unproven". When only proven paths may be used, our spoke sends by
// the hub.
func TestFRRSpokeUnderOurHubSecured(t *testing.T) {
	m := lab.NewMesh(t)
	m.Hub.Start()
	secureFRR(m, m.Spoke2)
	two := mixedSpokes(m)
	pathIs(m, m.Spoke1, m.Spoke2, api.PathUnproven, soon)

	m.Spoke1.Interface = append(m.Spoke1.Interface, `prove_paths = "only"`)
	rewrite(m.Spoke1)
	m.Spoke1.Cygnet("reload")
	flow := m.Spoke1.Host.Flow(two.Host.Addr, 50*time.Millisecond)
	pathIs(m, m.Spoke1, m.Spoke2, api.PathFailed, later)
	m.Await("our spoke sends by the hub", soon, func() error {
		via := m.Spoke1.NextHop(two.Host.Addr)
		return lab.True(via == m.Hub.Overlay, "it sends by %s", via)
	})
	flow.Back(time.Now(), soon)
	flow.Stop()
	encrypted(m)
	alive(m)
}

// Our spokes register with FRR's hub under IPsec and with a GRE key, follow its traffic
// indications, and talk directly.
func TestOurSpokesUnderFRRHubSecured(t *testing.T) {
	m := lab.NewMesh(t)
	secureFRR(m, m.Hub)
	hub := frrHub(m)
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		s.Start()
		registered(m, s, soon)
		m.Await("FRR's hub lists "+s.Name, soon, func() error { return hub.knows(s, "dynamic") })
		s.Host.Ping(m.Hub.Host.Addr, 2)
	}
	shortcut(m)
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 10)
	encrypted(m)
	alive(m)
}

// FRR's hub and spokes need no patched strongSwan for IPsec: with policies that ask for an SA when
// a packet needs one, they register and find each other. The comparison with FRR says so.
func TestFRRAloneSecured(t *testing.T) {
	m := lab.NewMesh(t)
	for _, s := range m.Sites() {
		secureFRR(m, s)
	}
	frrHub(m)
	one, two := frrSpoke(m, m.Spoke1), frrSpoke(m, m.Spoke2)
	for _, f := range []*frrSite{one, two} {
		f.registeredWith(m, m.Hub, soon)
	}
	// FRR does not wait for the SA between the spokes, which the first packet asks for. Until both
	// have it, the kernel drops what goes there.
	flow := one.Host.Flow(two.Host.Addr, 100*time.Millisecond)
	m.Await("FRR's spokes send directly to each other, by an SA that both have", later,
		func() error {
			return errors.Join(one.heads(two.Site), two.heads(one.Site),
				agreed(one.Site, two.Site))
		})
	flow.Back(time.Now(), soon)
	flow.Stop()
	one.Host.Ping(two.Host.Addr, 10)
	encrypted(m)
}
