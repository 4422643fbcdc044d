//go:build lab

package scenario

import (
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// The kernel was booted with ipv6.disable=1. Over IPv4 all works: registration, shortcut, multicast
// to the hub, a restart of all daemons, a goodbye. `cygnet check` and `cygnet status` find nothing
// wrong with that. A configuration that needs IPv6 is told what to do.
func TestWithoutIPv6(t *testing.T) {
	if lab.HasIPv6() {
		t.Skip("this kernel has IPv6: the guest's parameter UML_APPEND=ipv6.disable=1 switches it off")
	}
	m := lab.NewMesh(t)
	m.Add(`multicast = ["nhs", "clients"]`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	atHub, atSpoke2 := m.Hub.Capture("gre1"), m.Spoke2.Capture("gre1")
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 10)
	to := passing(m.Spoke1.Host.Addr, m.Spoke2.Host.Addr)
	if straight, hub := atSpoke2.Count(to), atHub.Count(to); straight != 10 || hub != 0 {
		t.Errorf("of 10 packets %d came to spoke2, %d to the hub", straight, hub)
	}
	group := addr("224.0.0.5")
	m.Await("a packet for a group comes to the hub", soon, func() error {
		_, _ = m.Spoke1.Try("ping", "-c1", "-W1", "-I", "gre1", group.String())
		n := atHub.Count(func(p lab.Packet) bool { return !p.Sent && p.Dst == group })
		return lab.True(n > 0, "none came")
	})
	for _, s := range m.Sites() {
		out, err := s.TryCygnet("check")
		if err != nil || strings.Contains(out, "IPv6") || strings.Contains(out, "kernel: ") {
			t.Errorf("check on %s says, with %v,\n%s", s.Name, err, out)
		}
		m.Await("the status of "+s.Name+" has no problems", later, func() error {
			st, err := status(s)
			if err != nil {
				return err
			}
			return lab.True(len(st.Problems) == 0, "problems %+v", st.Problems)
		})
	}

	flow := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, beat)
	flow.Back(time.Now(), soon)
	begin := time.Now()
	for _, s := range m.Sites() {
		s.Daemon.Kill()
		s.Daemon.Start()
	}
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	lossless(m, begin, []*lab.Flow{flow})
	flow.Stop()

	for _, change := range [][2]string{
		{`address = "10.255.0.12/24"`, `address = ["10.255.0.12/24", "fd00:255::12/64"]`},
		{`nbma = "192.0.2.1"`, `nbma = "2001:db8::1"`},
	} {
		m.Spoke2.WriteFile("/etc/cygnet/other.toml", 0o640,
			replace(m.Spoke2.Config(), change[0], change[1]))
		if out, err := m.Spoke2.TryCygnet("check", "/etc/cygnet/other.toml"); exitCode(err) != 5 ||
			!contains(out, "boot it without ipv6.disable=1") {
			t.Errorf("with %s check says, with %v,\n%s", change[1], err, out)
		}
	}
	for _, s := range m.Sites() {
		s.Cygnet("leave")
		if s.HasDevice("gre1") {
			t.Errorf("%s has gre1 after it left", s.Name)
		}
	}
	alive(m)
	encrypted(m)
}
