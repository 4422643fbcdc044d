//go:build lab

package scenario

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// All routers are at IPv6 addresses only, so that each has a device for each of its peers. Faults
// cost no more there than over IPv4: the end of a daemon and rekeying cost nothing, the end of a
// charon charonBack, deleted ESP states what the daemon takes to notice. Somebody's deletion of the
// device of a peer is repaired. All the time an unauthenticated sender sends clear GRE to all
// routers, also in the names of their peers: none of it comes into a tunnel, and nothing leaves in
// clear, also while charon is gone.
func TestFaultsOverIPv6(t *testing.T) {
	f := newFaultyMesh(t, onlyIPv6)
	// One after the other: the kernel frees the tables of a daemon's programs in the same work
	// queue in which it takes what comes out of ESP in transport mode, and a guest has one
	// processor.
	f.fault("SIGKILL of cygnetd on each site")
	begin := time.Now()
	for _, s := range f.Sites() {
		s.Daemon.Kill()
		s.Daemon.Start()
		f.answered(time.Now(), soon)
	}
	f.settle(time.Now())
	for _, flow := range f.flows() {
		f.lossless(flow, begin)
	}
	for i, s := range []*lab.Site{f.Hub, f.Spoke1} { // the hub's by SIGTERM, the spoke's by SIGKILL
		f.fault(fmt.Sprintf("%s of charon on %s", charonEnds[i].name, s.Name))
		begin := time.Now()
		charonEnds[i].end(s.Charon)
		s.Charon.Start()
		f.recovers(begin, time.Now(), charonBack)
		if s == f.Spoke1 {
			f.lossless(f.bystander, begin)
		}
	}
	f.fault("rekeying of CHILD_SAs on spoke1")
	f.rekeyed(f.Spoke1, "child-id")

	f.fault("all ESP states of the hub are deleted")
	begin = time.Now()
	f.Hub.Run("ip", "xfrm", "state", "deleteall")
	f.settle(begin)
	for _, flow := range f.flows() {
		f.outage(flow, begin, statesBack)
	}

	f.fault("somebody deletes the hub's device for spoke1")
	begin = time.Now()
	f.Hub.IP("link del " + linkTo(f.Mesh, f.Hub, f.Spoke1, "gre1"))
	f.settle(begin)
	f.outage(f.hub, begin, time.Second)
	f.lossless(f.bystander, begin)
	f.lossless(f.direct, begin)
	f.end()
}

// linkTo returns the name of the device of a site's tunnel for a peer at an IPv6 address.
func linkTo(m *lab.Mesh, s, peer *lab.Site, tunnel string) string {
	m.Helper()
	out := s.Run("ip", "-d", "-o", "link", "show", "type", "ip6gre")
	for line := range strings.Lines(out) {
		if contains(line, "remote "+peer.Public.String()+" ", "link of "+tunnel) {
			_, name, _ := strings.Cut(line, ": ")
			name, _, _ = strings.Cut(name, "@")
			return name
		}
	}
	m.Fatalf("%s of %s has no device for %s:\n%s", tunnel, s.Name, peer.Public, out)
	return ""
}
