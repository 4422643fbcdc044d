//go:build lab

package scenario

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"cygnet/test/lab"
)

// Identifiers of the NHRP MIB and of NET-SNMP-EXTEND-MIB. The last part of an object's identifier
// is the index of its row.
const (
	nhrpMIB            = ".1.3.6.1.2.1.71"
	nhrpCacheNBMA      = nhrpMIB + ".1.1.2.1.7"
	nhrpCacheType      = nhrpMIB + ".1.1.2.1.9"
	nhrpClientRegState = nhrpMIB + ".1.2.2.1.3"
	nhrpClientNHS      = nhrpMIB + ".1.2.3.1.3"
	nhrpClientNHSInUse = nhrpMIB + ".1.2.3.1.7"
	nhrpClientStat     = nhrpMIB + ".1.2.4.1"
	nhrpServerNHC      = nhrpMIB + ".1.3.3.1.4"
	extendResult       = ".1.3.6.1.4.1.8072.1.3.2.3.1.4"
	extendLines        = ".1.3.6.1.4.1.8072.1.3.2.4.1.2"
)

// snmpHas awaits that a router's snmpd has objects with these values below an identifier, each
// ".INDEX VALUE" with the beginning of the index, and as many objects as that.
func snmpHas(m *lab.Mesh, s *lab.Site, oid string, want ...string) {
	m.Helper()
	m.Await(fmt.Sprintf("SNMP on %s has %q below %s", s.Name, want, oid), soon, func() error {
		objects, err := s.SNMPWalk(oid)
		if err != nil {
			return err
		}
		for _, w := range want {
			index, value, _ := strings.Cut(w, " ")
			found := false
			for id, v := range objects {
				found = found || strings.HasPrefix(id+".", oid+index+".") && v == value
			}
			if !found {
				return fmt.Errorf("it has %q", objects)
			}
		}
		return lab.True(len(objects) == len(want), "it has %q", objects)
	})
}

// Debian's snmpd shows the NHRP MIB by the example configuration: a hub's clients, a spoke's
// servers, its cache and its counters, and the figures that the MIB lacks. A restart of snmpd
// changes nothing. Without the daemon there are no objects: nothing is shown that may not be so.
func TestSNMP(t *testing.T) {
	m := lab.NewMesh(t)
	for s, group := range map[*lab.Site]string{m.Hub: "Debian-snmp", m.Spoke1: "adm"} {
		s.DaemonLines = append(s.DaemonLines, fmt.Sprintf("api_view_group = %q", group))
	}
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	hub := m.Hub.SNMPD("Debian-snmp", contrib(m, "snmpd/cygnet.conf"))
	m.Spoke1.SNMPD("adm", contrib(m, "snmpd/cygnet.conf"))

	bindings := []string{".1.4.10.255.0.11 Hex-STRING: C0 00 02 0B",
		".1.4.10.255.0.12 Hex-STRING: C0 00 02 0C"}
	snmpHas(m, m.Hub, nhrpCacheNBMA, bindings...)
	objects, err := m.Hub.SNMPWalk(nhrpServerNHC)
	if err != nil || len(objects) != 2 {
		t.Errorf("the hub's clients are %q, %v", objects, err)
	}
	snmpHas(m, m.Spoke1, nhrpClientNHS, " Hex-STRING: 0A FF 00 01")
	snmpHas(m, m.Spoke1, nhrpClientNHSInUse, " INTEGER: 1")
	snmpHas(m, m.Spoke1, nhrpClientRegState, " INTEGER: 3")

	sent, good := registrations(m, m.Spoke1)
	m.Spoke1.Cygnet("register", "now")
	m.Await("the registration and its result are counted", soon, func() error {
		sentNow, goodNow := registrations(m, m.Spoke1)
		return lab.True(sentNow > sent && good > 0 && goodNow > good,
			"%d registrations before and %d good ones, %d and %d now", sent, good, sentNow, goodNow)
	})
	m.Await("the direct path", soon, func() error {
		if err := m.Spoke1.Host.Reaches(m.Spoke2.Host.Addr); err != nil {
			return err
		}
		return lab.True(m.Spoke1.NextHop(m.Spoke2.Host.Addr) == m.Spoke2.Overlay, "by the hub")
	})
	snmpHas(m, m.Spoke1, nhrpCacheType, ".1.4.172.16.2 INTEGER: 3")

	figures, err := m.Hub.SNMPWalk(extendLines)
	if err != nil ||
		!contains(fmt.Sprint(figures), `"errors 0"`, `"clients 2"`, `"peers-secured 2"`) {
		t.Errorf("the hub's figures are %q, %v", figures, err)
	}
	hub.Terminate()
	hub = m.Hub.SNMPD("Debian-snmp", contrib(m, "snmpd/cygnet.conf"))
	snmpHas(m, m.Hub, nhrpCacheNBMA, bindings...)
	program := snmpProgram(m, hub)

	m.Hub.Daemon.Kill()
	snmpHas(m, m.Hub, nhrpMIB)
	m.Await("the figures are gone", soon, func() error {
		figures, err := m.Hub.SNMPWalk(extendLines)
		if err != nil {
			return err
		}
		result, err := m.Hub.SNMPWalk(extendResult)
		if err != nil {
			return err
		}
		return lab.True(contains(fmt.Sprint(figures), "cygnetd is not running") &&
			!contains(fmt.Sprint(figures), "clients") &&
			strings.HasSuffix(fmt.Sprint(result), "INTEGER: 3]"), "%q, result %q", figures, result)
	})
	m.Hub.Daemon.Start()
	snmpHas(m, m.Hub, nhrpCacheNBMA, bindings...)
	if now := snmpProgram(m, hub); now != program {
		t.Errorf("snmpd runs process %s, before the daemon was away it was %s", now, program)
	}
	encrypted(m)
}

// snmpProgram returns the ID of the program that snmpd on the hub asks.
func snmpProgram(m *lab.Mesh, snmpd *lab.Process) string {
	m.Helper()
	return m.Hub.Run("pgrep", "-P", strconv.Itoa(snmpd.Pid()), "-f", "cygnet snmp$")
}

// registrations returns how many registration requests a spoke sent and how many of them had the
// result that was hoped for, as its snmpd has it.
func registrations(m *lab.Mesh, s *lab.Site) (sent, good int) {
	m.Helper()
	for column, n := range map[string]*int{".7": &sent, ".8": &good} {
		objects, err := s.SNMPWalk(nhrpClientStat + column)
		if err != nil || len(objects) != 1 {
			m.Fatalf("the counters %s are %q, %v", column, objects, err)
		}
		for _, v := range objects {
			if *n, err = strconv.Atoi(strings.TrimPrefix(v, "Counter32: ")); err != nil {
				m.Fatalf("the counter is %q: %v", v, err)
			}
		}
	}
	return sent, good
}
