//go:build lab

package scenario

import (
	"testing"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// The administrator asks for a direct path, pings the hub and the other spoke by NHRP, ends the
// shortcut, the SA and the binding, and registers at once. Each command says what it did, and the
// kernel and charon have it.
func TestCommandsOfTheAdministrator(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	says := func(s *lab.Site, words []string, want ...string) {
		t.Helper()
		out := s.Cygnet(words...)
		t.Logf("%s: cygnet %q\n%s", s.Name, words, out)
		if !contains(out, want...) {
			t.Errorf("%s: cygnet %q says\n%s\nwant %q", s.Name, words, out, want)
		}
	}
	dest := m.Spoke2.Host.Addr.String()

	says(m.Spoke1, []string{"ping", "10.255.0.1"}, "answered after", "1400 bytes pass")
	says(m.Hub, []string{"ping", "192.0.2.12"}, "10.255.0.12 at 192.0.2.12", "1400 bytes pass")
	if out, err := m.Spoke1.TryCygnet("ping", "10.255.0.12"); err == nil {
		t.Errorf("a ping to a router that is not known says\n%s", out)
	}
	says(m.Spoke1, []string{"resolve", dest}, "DIRECT, by a shortcut to 10.255.0.12",
		"asked 10.255.0.1", "10.255.0.12 answered")
	sendsVia := func(want *lab.Site) {
		t.Helper()
		m.Await("spoke1 sends via "+want.Name, soon, func() error {
			hop := m.Spoke1.NextHop(m.Spoke2.Host.Addr)
			return lab.True(hop == want.Overlay, "it sends via %s", hop)
		})
	}
	sendsVia(m.Spoke2)
	says(m.Spoke1, []string{"ping", "10.255.0.12"}, "spoke2.example.net", "1400 bytes pass")

	says(m.Spoke1, []string{"clear", "shortcut", dest}, "Ended the shortcut to 172.16.2.0/24")
	sendsVia(m.Hub)
	explains(m, m.Spoke1, m.Spoke2.Host.Addr, nobody, api.PathHub, api.ReasonEnded,
		"cleared by the administrator")

	before := usable(m.Hub, m.Spoke2)
	if len(before) == 0 {
		t.Fatal("the hub has no SA with spoke2")
	}
	says(m.Hub, []string{"clear", "peer", "10.255.0.12"}, "Closed the SA with 192.0.2.12")
	m.Await("spoke2 is back with another SA", later, func() error {
		sas := usable(m.Hub, m.Spoke2)
		return lab.True(len(sas) > 0 && sas[0].ID != before[0].ID, "%+v", sas)
	})
	registered(m, m.Spoke2, later)

	before = usable(m.Hub, m.Spoke1)
	if len(before) == 0 {
		t.Fatal("the hub has no SA with spoke1")
	}
	says(m.Hub, []string{"clear", "binding", "10.255.0.11"}, "Ended the binding of 10.255.0.11")
	m.Await("the hub ended the binding", soon, func() error {
		return logged(m.Hub, "binding ended", "cleared by the administrator")
	})
	// The daemon logs that before the kernel and charon have it. Until the SA is another one, the
	// tables still show spoke1 as registered.
	m.Await("spoke1 is back with another SA", later, func() error {
		sas := usable(m.Hub, m.Spoke1)
		return lab.True(len(sas) > 0 && sas[0].ID != before[0].ID, "%+v", sas)
	})
	registered(m, m.Spoke1, later)

	first, err := nhs(m.Spoke1)
	if err != nil {
		t.Fatal(err)
	}
	says(m.Spoke1, []string{"register", "now"}, "10.255.0.1", "registered")
	n, err := nhs(m.Spoke1)
	if err != nil || n.State != api.NHSRegistered || !n.Registered.After(first.Registered) {
		t.Errorf("after register now: %+v, %v, before %+v", n, err, first)
	}
	says(m.Spoke1, []string{"register", "now", "--json"}, `"interface": "gre1"`,
		`"announced": []`)
	encrypted(m)
}
