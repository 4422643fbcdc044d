package api

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// WriteMetrics writes a status in the Prometheus text format, version 0.0.4, with series of their
// own for up to peers peers of each interface. The text contains no secret, but it names
// interfaces, servers and those peers.
func WriteMetrics(w io.Writer, s *Status, peers int) error {
	m := &metrics{w: bufio.NewWriter(w)}
	m.daemon(s)
	m.strongSwan(&s.StrongSwan)
	m.interfaces(s)
	m.entries(s)
	m.limits(s)
	m.carried(s)
	m.eachPeer(s, peers)
	m.tables(&s.Tables)
	m.packets(&s.Counters)
	m.durations(&s.Durations)
	m.counts("cygnet_event_readers_dropped_total", "reason",
		"Readers of the event stream that were dropped or not taken, by reason.", s.Events.Dropped)
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
	m.sample(unix(s.Started))
	m.problems(s)
	m.family("cygnet_advice", "gauge", "Number of settings of this host that limit the daemon; cygnet status names them.")
	m.sample(float64(len(s.Advice)))
	m.family("cygnet_heap_bytes", "gauge", "Memory of the daemon's heap that is in use or not collected yet.")
	m.sample(float64(s.Memory.Heap))
	m.family("cygnet_heap_allocations_total", "counter", "Objects that the daemon allocated.")
	m.sample(float64(s.Memory.Allocations))
}

// strongSwan writes the state of the link to charon, and why SAs did not come up.
func (m *metrics) strongSwan(s *StrongSwan) {
	m.family("cygnet_strongswan_connected", "gauge", "1 while the daemon is connected to charon over VICI.")
	m.sample(bit(s.Connected))
	m.family("cygnet_strongswan_since_time_seconds", "gauge",
		"When the connection to charon was made or lost, in seconds since 1970.")
	if !s.Since.IsZero() {
		m.sample(unix(s.Since))
	}
	m.family("cygnet_strongswan_start_time_seconds", "gauge",
		"When charon started, as it said at the last connection, in seconds since 1970.")
	if !s.Started.IsZero() {
		m.sample(unix(s.Started))
	}
	m.family("cygnet_strongswan_events_dropped_total", "counter", "Events of charon's that the daemon was too slow for.")
	m.sample(float64(s.EventsDropped))
	m.family("cygnet_ike_failures_total", "counter",
		"Attempts at an SA that failed, by cause: dialled by this router, or accepted from another as far as that was noticed.")
	m.each(s.Failures, "cause", "role", "initiator")
	m.each(s.Refusals, "cause", "role", "responder")
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
	m.multicast(s)
	m.clearGRE(s)
	m.authorizers(s)
	m.servers(s)
}

// servers writes the state of the registrations with next hop servers. One in reserve is not to be
// registered with, and has no registration.
func (m *metrics) servers(s *Status) {
	wanted := func(i *Interface, n *NHS) bool {
		return n.State != NHSReserve && !i.UsesOtherVersion(n)
	}
	m.family("cygnet_nhs_registered", "gauge", "1 while the registration with the next hop server holds, with both families those of both. One in reserve is left out, and one whose name is used over the other IP version.")
	m.eachServer(s, wanted, func(n *NHS) float64 {
		return bit(!slices.ContainsFunc(n.Each(), func(r NHS) bool {
			return r.State != NHSRegistered
		}))
	})
	measured := func(_ *Interface, n *NHS) bool { return longestRoundTrip(n) > 0 }
	m.family("cygnet_nhs_round_trip_seconds", "gauge", "Time from the last registration request that was answered at once until its answer, the longer one of two families.")
	m.eachServer(s, measured, longestRoundTrip)
	m.family("cygnet_nhs_unanswered_requests", "gauge", "Registration requests in a row without an answer.")
	m.eachServer(s, wanted, func(n *NHS) float64 {
		most := 0
		for _, r := range n.Each() {
			most = max(most, r.Attempts)
		}
		return float64(most)
	})
	m.family("cygnet_nhs_in_use", "gauge", "1 while the next hop server is used, 0 while it is in reserve or does not answer.")
	m.eachServer(s, func(*Interface, *NHS) bool { return true },
		func(n *NHS) float64 { return bit(n.Use == NHSUseInUse) })
}

// longestRoundTrip returns the longest round-trip time of the registrations with an NHS.
func longestRoundTrip(n *NHS) float64 {
	longest := 0.0
	for _, r := range n.Each() {
		longest = max(longest, r.RoundTrip)
	}
	return longest
}

// eachServer writes a sample for each next hop server for which show returns true. A name may have
// several addresses, each of which is a server.
func (m *metrics) eachServer(
	s *Status, show func(*Interface, *NHS) bool, value func(*NHS) float64,
) {
	for i := range s.Interfaces {
		for k := range s.Interfaces[i].NHS {
			n := &s.Interfaces[i].NHS[k]
			if !show(&s.Interfaces[i], n) {
				continue
			}
			address := ""
			if n.NBMA.IsValid() {
				address = n.NBMA.String()
			}
			m.sample(value(n),
				"interface", s.Interfaces[i].Name, "nhs", n.Name, "address", address)
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
	m.family("cygnet_mss_lowered_total", "counter",
		"First packets of TCP connections whose maximum segment size was lowered "+
			"to what fits into the tunnel.")
	for _, i := range s.Interfaces {
		m.sample(float64(i.MSSLowered), "interface", i.Name)
	}
}

// multicast writes what is sent to groups.
func (m *metrics) multicast(s *Status) {
	each := func(name, kind, help string, value func(*Multicast) float64) {
		m.family(name, kind, help)
		for _, i := range s.Interfaces {
			if i.Multicast != nil {
				m.sample(value(i.Multicast), "interface", i.Name)
			}
		}
	}
	each("cygnet_multicast_receivers", "gauge",
		"Routers that get a copy of each packet to a group.",
		func(m *Multicast) float64 { return float64(m.Receivers) })
	each("cygnet_multicast_packets_total", "counter", "Packets that were sent to groups.",
		func(m *Multicast) float64 { return float64(m.Packets) })
	each("cygnet_multicast_copies_total", "counter", "Copies of them that were sent.",
		func(m *Multicast) float64 { return float64(m.Copies) })
	each("cygnet_multicast_failing", "gauge", "1 while receivers may miss packets.",
		func(m *Multicast) float64 { return bit(m.Error != "") })
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
			ShortcutResolving, ShortcutSecuring, ShortcutProving, ShortcutUp, ShortcutImpossible)
	}
	m.family("cygnet_peers", "gauge", "Peers by the state of their security.")
	for _, i := range s.Interfaces {
		count(m, i.Name, i.Peers, func(e Peer) PeerState { return e.State }, PeerAbsent,
			PeerSecuring, PeerSecured)
	}
	m.family("cygnet_paths", "gauge", "Direct paths to peers by state.")
	for _, i := range s.Interfaces {
		var paths []Path
		for _, p := range i.Peers {
			if p.Path != nil {
				paths = append(paths, *p.Path)
			}
		}
		count(m, i.Name, paths, func(p Path) PathState { return p.State },
			PathUnproven, PathProven, PathSmall, PathFailed)
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

// limits writes the limits of the configuration and how full the tables are that have one.
func (m *metrics) limits(s *Status) {
	m.family("cygnet_limit", "gauge",
		"The limits of the interface, by their name in its table limits: entries, or events a second.")
	for _, i := range s.Interfaces {
		for _, l := range i.Limits {
			m.sample(float64(l.Limit), "interface", i.Name, "limit", l.Name)
		}
	}
	m.family("cygnet_limit_used", "gauge",
		"How many entries there are of what has a limit; of sas the most of one identity, "+
			"of links the devices of peers at IPv6 addresses.")
	for _, i := range s.Interfaces {
		for _, l := range i.Limits {
			if l.Used != nil {
				m.sample(float64(*l.Used), "interface", i.Name, "limit", l.Name)
			}
		}
	}
}

// trafficKinds are the counts of Traffic: a part of the metric's name, what it counts, and the
// count.
var trafficKinds = []struct {
	name, what string
	count      func(*Traffic) uint64
}{
	{"received_bytes", "Bytes that came through", func(t *Traffic) uint64 { return t.BytesIn }},
	{"sent_bytes", "Bytes that went through", func(t *Traffic) uint64 { return t.BytesOut }},
	{"received_packets", "Packets that came through",
		func(t *Traffic) uint64 { return t.PacketsIn }},
	{"sent_packets", "Packets that went through",
		func(t *Traffic) uint64 { return t.PacketsOut }},
}

// carried writes what the SAs of each interface carried.
func (m *metrics) carried(s *Status) {
	for _, kind := range trafficKinds {
		m.family("cygnet_interface_"+kind.name+"_total", "counter",
			kind.what+" the SAs of the interface, also of those that ended, as of half a minute ago at most.")
		for _, i := range s.Interfaces {
			if i.Traffic != nil {
				m.sample(float64(kind.count(i.Traffic)), "interface", i.Name)
			}
		}
	}
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
	m.family("cygnet_packets_dropped_total", "counter",
		"Packets dropped, by kind and reason: nhrp, data, multicast, or event for what was only not looked at.")
	for _, reason := range slices.Sorted(maps.Keys(c.Dropped)) {
		m.sample(float64(c.Dropped[reason]), "kind", dropKind(reason), "reason", reason)
	}
	m.family("cygnet_registrations_total", "counter",
		"Results of registrations, by the code of the answer: of this router with NHSs (client), and of its clients (server).")
	m.each(c.Registered, "result", "role", "client")
	m.each(c.Served, "result", "role", "server")
}

// dropKinds has the kind of what was dropped by how the reason begins. All else is NHRP.
var dropKinds = []struct{ begins, kind string }{
	{"data: ", "data"}, {"multicast", "multicast"},
	{"redirect", "event"}, {"missing neighbour", "event"}, {"NFLOG: ", "event"},
}

// dropKind returns what was dropped for a reason.
func dropKind(reason string) string {
	for _, k := range dropKinds {
		if strings.HasPrefix(reason, k.begins) {
			return k.kind
		}
	}
	return "nhrp"
}

// counts writes a family of counters.
func (m *metrics) counts(name, label, help string, counts map[string]uint64) {
	m.family(name, "counter", help)
	m.each(counts, label)
}

// each writes a sample of the present family for each count, with further labels before its own.
func (m *metrics) each(counts map[string]uint64, label string, more ...string) {
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		m.sample(float64(counts[key]), append(slices.Clip(more), label, key)...)
	}
}

// eachPeer writes what is known of single peers: of up to most on each interface, so that a hub of
// thousands does not make as many series.
func (m *metrics) eachPeer(s *Status, most int) {
	shown := func(i *Interface) []Peer { return i.Peers[:min(most, len(i.Peers))] }
	each := func(name, kind, help string, value func(*Peer) (float64, bool)) {
		m.family(name, kind, help)
		for i := range s.Interfaces {
			peers := shown(&s.Interfaces[i])
			for k := range peers {
				peers[k].Interface = s.Interfaces[i].Name
				if x, ok := value(&peers[k]); ok {
					m.sample(x, "interface", s.Interfaces[i].Name, "peer", peers[k].name(),
						"identity", peers[k].Identity)
				}
			}
		}
	}
	each("cygnet_peer_secured", "gauge", "1 while the peer has an SA.",
		func(p *Peer) (float64, bool) { return bit(p.State == PeerSecured), true })
	each("cygnet_peer_since_time_seconds", "gauge",
		"When the state of the peer's security began, in seconds since 1970.",
		func(p *Peer) (float64, bool) { return unix(p.Since), !p.Since.IsZero() })
	each("cygnet_peer_received_time_seconds", "gauge",
		"When data last came from the peer, in seconds since 1970.",
		func(p *Peer) (float64, bool) { return unix(p.In), !p.In.IsZero() })
	each("cygnet_peer_sent_time_seconds", "gauge",
		"When data last went to the peer, in seconds since 1970.",
		func(p *Peer) (float64, bool) { return unix(p.Out), !p.Out.IsZero() })
	each("cygnet_peer_round_trip_seconds", "gauge",
		"The last round-trip time to the peer: of a probe of the direct path, or else of a registration.",
		func(p *Peer) (float64, bool) { return p.RoundTrip, p.RoundTrip > 0 })
	for _, kind := range trafficKinds {
		each("cygnet_peer_"+kind.name+"_total", "counter",
			kind.what+" SAs with the peer, also those that ended, as of half a minute ago at most.",
			func(p *Peer) (float64, bool) {
				if p.Traffic == nil {
					return 0, false
				}
				return float64(kind.count(p.Traffic)), true
			})
	}
	m.family("cygnet_peers_without_series", "gauge",
		"Peers that exceed metrics_peers, and have no series of their own.")
	for i := range s.Interfaces {
		ifc := &s.Interfaces[i]
		m.sample(float64(len(ifc.Peers)-len(shown(ifc))), "interface", ifc.Name)
	}
}

// name tells a peer from all others of its interface.
func (p *Peer) name() string {
	if p.Mark != 0 {
		return p.NBMA.String() + " mark " + strconv.FormatUint(uint64(p.Mark), 10)
	}
	return p.NBMA.String()
}

// unix returns a time in seconds since 1970.
func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// durations writes how long work took.
func (m *metrics) durations(d *Durations) {
	m.histogram("cygnet_shortcut_resolved_seconds",
		"Time from an indication until the answer, of shortcuts that came up.", &d.Resolved)
	m.histogram("cygnet_shortcut_secured_seconds",
		"Time from an indication until a new SA, of shortcuts that came up and needed one.",
		&d.Secured)
	m.histogram("cygnet_shortcut_setup_seconds",
		"Time from the answer until the shortcut was up: SA, proof of the path and routes.",
		&d.SetUp)
	m.histogram("cygnet_shortcut_up_seconds",
		"Time from an indication until the shortcut was up and traffic took the direct path.",
		&d.Shortcut)
	m.histogram("cygnet_sa_setup_seconds",
		"Time from dialling a peer until its SA was up.", &d.SA)
	m.histogram("cygnet_turn_seconds",
		"Time that the loop took for a turn: events, and what followed from them.", &d.Turn)
	m.family("cygnet_reconcile_seconds", "histogram",
		"Time to bring the kernel's neighbours and routes in step, and to compare all SAs with charon's.")
	m.buckets("cygnet_reconcile_seconds", &d.Kernel, "with", "kernel")
	m.buckets("cygnet_reconcile_seconds", &d.Compared, "with", "strongswan")
	m.histogram("cygnet_state_saved_seconds", "Time that writing the state to disk took.", &d.Saved)
}

// histogram writes a family of the type histogram.
func (m *metrics) histogram(name, help string, h *Histogram) {
	m.family(name, "histogram", help)
	m.buckets(name, h)
}

// buckets writes the samples of a histogram, with these labels.
func (m *metrics) buckets(name string, h *Histogram, labels ...string) {
	m.name = name + "_bucket"
	within := func(bound string) []string { return append(slices.Clip(labels), "le", bound) }
	for _, b := range h.Buckets {
		m.sample(float64(b.Count), within(strconv.FormatFloat(b.Within, 'g', -1, 64))...)
	}
	m.sample(float64(h.Count), within("+Inf")...)
	m.name = name + "_sum"
	m.sample(h.Sum, labels...)
	m.name = name + "_count"
	m.sample(float64(h.Count), labels...)
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
