package api

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// WriteMetrics writes a status in the Prometheus text format, version 0.0.4. The text contains no
// secret, but it names interfaces and servers.
func WriteMetrics(w io.Writer, s *Status) error {
	m := &metrics{w: bufio.NewWriter(w)}
	m.daemon(s)
	m.interfaces(s)
	m.entries(s)
	m.tables(&s.Tables)
	m.packets(&s.Counters)
	return m.w.Flush()
}

// metrics writes one family after another. Its writer remembers the first error, and Flush returns
// it.
type metrics struct {
	w    *bufio.Writer
	name string
}

func (m *metrics) daemon(s *Status) {
	m.family("cygnet_build_info", "gauge", "The version of the daemon; always 1.")
	m.sample(1, "version", s.Version)
	m.family("cygnet_start_time_seconds", "gauge",
		"When the daemon started, in seconds since 1970.")
	m.sample(float64(s.Started.UnixMilli()) / 1000)
	m.family("cygnet_strongswan_connected", "gauge", "1 while the daemon is connected to charon over VICI.")
	m.sample(bit(s.StrongSwan.Connected))
	m.family("cygnet_strongswan_events_dropped_total", "counter", "Events of charon's that the daemon was too slow for.")
	m.sample(float64(s.StrongSwan.EventsDropped))
	m.problems(s)
	m.family("cygnet_advice", "gauge", "Number of settings of this host that limit the daemon; cygnet status names them.")
	m.sample(float64(len(s.Advice)))
	m.family("cygnet_heap_bytes", "gauge", "Memory of the daemon's heap that is in use or not collected yet.")
	m.sample(float64(s.Memory.Heap))
	m.family("cygnet_heap_allocations_total", "counter", "Objects that the daemon allocated.")
	m.sample(float64(s.Memory.Allocations))
}

// problems counts problems by severity and then by kind. A severity without problems has a sample
// of 0, so that its series is always there.
func (m *metrics) problems(s *Status) {
	m.family("cygnet_problems", "gauge", "Problems that cygnet status lists, by severity.")
	for _, severity := range []Severity{SeverityError, SeverityWarning} {
		n := 0
		for i := range s.Problems {
			if s.Problems[i].Severity == severity {
				n++
			}
		}
		m.sample(float64(n), "severity", string(severity))
	}
	m.family("cygnet_problem", "gauge", "Problems of one kind, by code (see cygnet(1)) and interface; absent: none.")
	type kind struct {
		code  ProblemCode
		iface string
	}
	counts, order := map[kind]int{}, []kind(nil)
	for i := range s.Problems {
		k := kind{s.Problems[i].Code, s.Problems[i].Interface}
		if counts[k]++; counts[k] == 1 {
			order = append(order, k)
		}
	}
	for _, k := range order {
		m.sample(float64(counts[k]), "code", string(k.code), "interface", k.iface)
	}
}

func (m *metrics) interfaces(s *Status) {
	m.family("cygnet_interface_up", "gauge", "1 while the tunnel interface is up.")
	for _, i := range s.Interfaces {
		m.sample(bit(i.Up), "interface", i.Name)
	}
	m.family("cygnet_interface_protected", "gauge", "1 where IPsec is required of every peer.")
	for _, i := range s.Interfaces {
		m.sample(bit(i.Protected), "interface", i.Name)
	}
	m.family("cygnet_interface_failed", "gauge", "1 while the interface does not work for a reason that cygnet status gives.")
	for _, i := range s.Interfaces {
		m.sample(bit(i.Error != ""), "interface", i.Name)
	}
	m.dataPath(s)
	m.clearGRE(s)
	m.family("cygnet_nhs_registered", "gauge", "1 while the registration with the next hop server holds.")
	for _, i := range s.Interfaces {
		for _, n := range i.NHS {
			m.sample(bit(n.State == NHSRegistered), "interface", i.Name, "nhs", n.Name)
		}
	}
	m.family("cygnet_nhs_unanswered_requests", "gauge", "Registration requests in a row without an answer.")
	for _, i := range s.Interfaces {
		for _, n := range i.NHS {
			m.sample(float64(n.Attempts), "interface", i.Name, "nhs", n.Name)
		}
	}
}

// dataPath writes the state of the eBPF programs.
func (m *metrics) dataPath(s *Status) {
	m.family("cygnet_admission", "gauge", "1 for whose data the kernel takes from the tunnel now.")
	for _, i := range s.Interfaces {
		for _, mode := range []Admission{
			AdmissionOff, AdmissionUnenforced, AdmissionPeers, AdmissionSources,
		} {
			m.sample(bit(i.Admission == mode), "interface", i.Name, "mode", string(mode))
		}
	}
	m.family("cygnet_data_path_failing", "gauge", "1 while eBPF programs or their tables are not as they should be.")
	for _, i := range s.Interfaces {
		m.sample(bit(i.DataPathError != "" || i.AdmissionReason != ""), "interface", i.Name)
	}
	m.family("cygnet_data_path_restored_total", "counter",
		"eBPF programs and entries of their tables that were missing or changed "+
			"and were put right.")
	for _, i := range s.Interfaces {
		m.sample(float64(i.DataPathRestored), "interface", i.Name)
	}
}

// clearGRE writes what is known about GRE without IPsec.
func (m *metrics) clearGRE(s *Status) {
	m.family("cygnet_clear_gre_leaking", "gauge", "Peers for whom GRE came out of the kernel without IPsec within ten minutes; stopped: a filter dropped it.")
	for _, i := range s.Interfaces {
		if i.ClearGRE != nil {
			stopped := 0
			for _, l := range i.ClearGRE.Leaks {
				if l.Stopped {
					stopped++
				}
			}
			m.sample(float64(stopped), "interface", i.Name, "stopped", "yes")
			m.sample(float64(len(i.ClearGRE.Leaks)-stopped), "interface", i.Name, "stopped", "no")
		}
	}
	m.family("cygnet_clear_gre_causes", "gauge", "Policies and settings of this host that let GRE pass without IPsec; cygnet status names them.")
	for _, i := range s.Interfaces {
		if i.ClearGRE != nil {
			m.sample(float64(len(i.ClearGRE.Causes)), "interface", i.Name)
		}
	}
	m.family("cygnet_clear_gre_unfiltered_devices", "gauge", "Devices that lead to peers and lack the filters against clear GRE.")
	for _, i := range s.Interfaces {
		if i.ClearGRE != nil {
			m.sample(float64(len(i.ClearGRE.Missing)), "interface", i.Name)
		}
	}
	m.family("cygnet_clear_gre_stopped_total", "counter", "Packets of clear GRE that filters dropped at devices.")
	for _, i := range s.Interfaces {
		if i.ClearGRE != nil {
			m.sample(float64(i.ClearGRE.StoppedIn), "interface", i.Name, "direction", "in")
			m.sample(float64(i.ClearGRE.StoppedOut), "interface", i.Name, "direction", "out")
		}
	}
}

func (m *metrics) entries(s *Status) {
	m.family("cygnet_bindings", "gauge", "Bindings in the cache.")
	for _, i := range s.Interfaces {
		static := 0
		for _, b := range i.Bindings {
			if b.Static {
				static++
			}
		}
		m.sample(float64(len(i.Bindings)-static), "interface", i.Name, "kind", "registered")
		m.sample(float64(static), "interface", i.Name, "kind", "static")
	}
	m.family("cygnet_shortcuts", "gauge", "Shortcuts by state.")
	for _, i := range s.Interfaces {
		count(m, i.Name, i.Shortcuts, func(e Shortcut) ShortcutState { return e.State },
			ShortcutResolving, ShortcutSecuring, ShortcutUp)
	}
	m.family("cygnet_peers", "gauge", "Peers by the state of their security.")
	for _, i := range s.Interfaces {
		count(m, i.Name, i.Peers, func(e Peer) PeerState { return e.State }, PeerAbsent,
			PeerSecuring, PeerSecured)
	}
	m.family("cygnet_routes_missing", "gauge", "Routes, of shortcuts and to prefixes of clients, that are wanted but not in the kernel.")
	missing := 0
	for _, r := range s.Routes {
		if !r.Installed {
			missing++
		}
	}
	m.sample(float64(missing))
	m.family("cygnet_ike_sas", "gauge", "IKE_SAs of the daemon's peers.")
	m.sample(float64(len(s.SAs)))
}

func (m *metrics) tables(t *Tables) {
	m.family("cygnet_kernel_entries_failing", "gauge", "Neighbours and routes that the kernel refused at the last try.")
	m.sample(float64(t.Failing))
	m.family("cygnet_kernel_entries_restored_total", "counter", "Neighbours and routes that were missing or changed in the kernel and were put right.")
	m.sample(float64(t.Restored))
	m.counts("cygnet_kernel_failures_total", "reason", "Changes that the kernel refused, by operation and reason.", t.Failures)
}

// count writes one sample for each state. A state without entries has a sample of 0, so that its
// series is always there.
func count[E any, S ~string](m *metrics, iface string, entries []E, state func(E) S, states ...S) {
	counts := map[S]int{}
	for _, e := range entries {
		counts[state(e)]++
	}
	for _, s := range states {
		m.sample(float64(counts[s]), "interface", iface, "state", string(s))
	}
}

func (m *metrics) packets(c *Counters) {
	m.counts("cygnet_packets_received_total", "type", "NHRP packets received, by message type.",
		c.Received)
	m.counts("cygnet_packets_sent_total", "type", "NHRP packets sent, by message type.", c.Sent)
	m.counts("cygnet_packets_dropped_total", "reason", "Packets dropped, by reason: NHRP, and data where the reason says so.", c.Dropped)
}

// counts writes a family of counters.
func (m *metrics) counts(name, label, help string, counts map[string]uint64) {
	m.family(name, "counter", help)
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		m.sample(float64(counts[key]), label, key)
	}
}

func (m *metrics) family(name, kind, help string) {
	m.name = name
	fmt.Fprintf(m.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

var escapeLabel = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// sample writes one line. Labels come in pairs of name and value.
func (m *metrics) sample(x float64, labels ...string) {
	m.w.WriteString(m.name)
	for i := 0; i+1 < len(labels); i += 2 {
		open := "{"
		if i > 0 {
			open = ","
		}
		fmt.Fprintf(m.w, `%s%s="%s"`, open, labels[i], escapeLabel.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		m.w.WriteByte('}')
	}
	m.w.WriteString(" " + strconv.FormatFloat(x, 'f', -1, 64) + "\n")
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
