package snmp

import (
	"fmt"
	"strings"

	"cygnet/nhrpd/api"
)

// Figures returns what a network management system may want to know and the NHRP MIB has no objects
// for, one figure a line: its name and a whole number. The lines are always the same ones in the
// same order, since snmpd numbers them; new ones come at the end.
func Figures(s *api.Status) string {
	var text strings.Builder
	line := func(name string, n uint64) { fmt.Fprintf(&text, "%s %d\n", name, n) }
	problems := map[api.Severity]uint64{}
	for i := range s.Problems {
		problems[s.Problems[i].Severity]++
	}
	line("errors", problems[api.SeverityError])
	line("warnings", problems[api.SeverityWarning])
	line("started", uint64(max(0, s.Started.Unix())))
	line("strongswan", count(s.StrongSwan.Connected))
	interfaces(s, line)
	line("sas", uint64(len(s.SAs)))
	line("received", sum(s.Counters.Received))
	line("sent", sum(s.Counters.Sent))
	data := uint64(0)
	for reason, n := range s.Counters.Dropped {
		if strings.HasPrefix(reason, "data: ") {
			data += n
		}
	}
	line("dropped", sum(s.Counters.Dropped)-data)
	line("data-dropped", data)
	line("kernel-failing", uint64(max(0, s.Tables.Failing)))
	return text.String()
}

// interfaces writes the figures of all interfaces together.
func interfaces(s *api.Status, line func(name string, n uint64)) {
	var up, used, clients, peers, secured, admitted, shortcuts uint64
	for i := range s.Interfaces {
		ifc := &s.Interfaces[i]
		up += count(ifc.Up)
		for k := range ifc.NHS {
			used += count(ifc.NHS[k].State == api.NHSRegistered)
		}
		clients += uint64(ifc.Clients())
		peers += uint64(len(ifc.Peers))
		for k := range ifc.Peers {
			secured += count(ifc.Peers[k].State == api.PeerSecured)
			admitted += count(ifc.Peers[k].Admitted)
		}
		for k := range ifc.Shortcuts {
			shortcuts += count(ifc.Shortcuts[k].State == api.ShortcutUp)
		}
	}
	line("interfaces-up", up)
	line("interfaces", uint64(len(s.Interfaces)))
	line("nhs-registered", used)
	line("clients", clients)
	line("peers-secured", secured)
	line("peers-admitted", admitted)
	line("peers", peers)
	line("shortcuts-up", shortcuts)
}

func count(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func sum(counts map[string]uint64) (all uint64) {
	for _, n := range counts {
		all += n
	}
	return all
}
