//go:build lab

package contrib

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// OSPF compares the MTUs of neighbours before it exchanges routes. A hub, a spoke before NAT and
// one behind it agree: by the default, and with mtu = "auto", to which a reload changes all of
// them.
func TestOSPFAgreesOnTheMTU(t *testing.T) {
	s := design{
		examples: "ospf", protocol: "ospf", direct: true, nat: true,
		daemons: map[string]string{"hub": "frr", "spoke1": "frr", "spoke2": "frr"},
	}.run(t)
	s.full(1400)
	s.each(func(r *lab.Router, _ string, _ *strings.Replacer) {
		const file = lab.CygnetConfig
		auto := strings.Replace(r.Run("cat", file), "\nkey ", "\nmtu = \"auto\"\nkey ", 1)
		r.WriteFile(file, 0o640, auto)
		var st api.Status
		if err := r.CygnetJSON(&st, "status"); err != nil {
			t.Fatal(err)
		}
		r.Run("kill", "-HUP", fmt.Sprint(st.PID))
	})
	s.Await("all routers have the MTU that fits", 30*time.Second,
		func() error { return s.mtu(1430) })
	// A neighbour that is full stays so, whatever the MTU. A new one compares.
	s.each(func(r *lab.Router, _ string, _ *strings.Replacer) {
		r.Run("vtysh", "-d", "ospfd", "-c", "clear ip ospf process")
	})
	s.full(1430)
	if n := s.Underlay.Count(lab.OfKind(lab.GRE)); n > 0 {
		t.Errorf("%d packets of clear GRE on the underlay", n)
	}
}

// mtu returns an error unless the tunnels of all routers have this MTU, as the kernel, the status
// and the hub's clients say.
func (s *sites) mtu(want int) (err error) {
	s.each(func(r *lab.Router, _ string, _ *strings.Replacer) {
		var st api.Status
		if e := r.CygnetJSON(&st, "status"); e != nil || len(st.Interfaces) != 1 {
			err = fmt.Errorf("%s: %d interfaces, %v", r.Name, len(st.Interfaces), e)
			return
		}
		if link := r.Run("ip", "link", "show", "gre1"); st.Interfaces[0].MTU != want ||
			!strings.Contains(link, fmt.Sprintf(" mtu %d ", want)) {
			err = fmt.Errorf("%s: the status shows %d: %s", r.Name, st.Interfaces[0].MTU, link)
		}
		for _, b := range st.Interfaces[0].Bindings {
			if int(b.MTU) != want {
				err = fmt.Errorf("%s: %s claims %d", r.Name, b.Protocol, b.MTU)
			}
		}
	})
	return err
}

// full waits until the routers are OSPF neighbours with this MTU: the hub has both spokes, and each
// spoke the hub.
func (s *sites) full(mtu int) {
	s.Helper()
	s.Await(fmt.Sprintf("OSPF neighbours are full with an MTU of %d", mtu), 120*time.Second,
		func() error {
			err := s.mtu(mtu)
			s.each(func(r *lab.Router, role string, _ *strings.Replacer) {
				want := map[string]int{"hub": 2, "spoke": 1}[role]
				out := r.Run("vtysh", "-d", "ospfd", "-c", "show ip ospf neighbor")
				if n := strings.Count(out, "Full/"); n != want {
					err = fmt.Errorf("%s has %d full neighbours, want %d:\n%s",
						r.Name, n, want, out)
				}
			})
			return err
		})
}
