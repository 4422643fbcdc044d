package netcheck

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// What results are about.
const (
	AboutFile         = "configuration"
	AboutDaemon       = "daemon"
	AboutCharon       = "strongSwan"
	AboutClock        = "clock"
	AboutUnderlay     = "underlay"
	AboutCertificates = "certificates"
	AboutClients      = "clients"
	AboutName         = "name"
	AboutRoute        = "route"
	AboutIKE          = "IKE"
	AboutNAT          = "NAT"
	AboutESP          = "ESP"
	AboutMTU          = "MTU"
	AboutRegistration = "registration"
)

// judged is a verdict with its text, for a result.
type judged struct {
	Verdict
	found, do string
}

// say returns a judgement without anything to do.
func say(v Verdict, format string, args ...any) judged {
	return judged{Verdict: v, found: fmt.Sprintf(format, args...)}
}

// but returns the judgement with what to do.
func (j judged) but(format string, args ...any) judged {
	j.do = fmt.Sprintf(format, args...)
	return j
}

// about returns the judgement as a result.
func (j judged) about(what string) Result {
	return Result{About: what, Verdict: j.Verdict, Found: j.found, Do: j.do}
}

// Judge fills in the results and verdicts of a report from its facts.
func Judge(r *Report) {
	r.Results = r.results()
	r.Verdict = Worst(r.Results)
	for n := range r.Tunnels {
		t := &r.Tunnels[n]
		t.Results = t.results()
		r.Verdict = worse(r.Verdict, Worst(t.Results))
		for m := range t.Servers {
			s := &t.Servers[m]
			s.Results = s.results(t, r)
			r.Verdict = worse(r.Verdict, Worst(s.Results))
		}
	}
}

// Worst returns the worst verdict of results.
func Worst(results []Result) Verdict {
	worst := Good
	for _, r := range results {
		worst = worse(worst, r.Verdict)
	}
	return worst
}

func worse(a, b Verdict) Verdict {
	if ranks[b] > ranks[a] {
		return b
	}
	return a
}

// results judges what concerns the router as a whole.
func (r *Report) results() []Result {
	var all []Result
	switch {
	case r.FileDenied:
		all = append(all, say(Unknown, "%s: certificates, and whether the tunnel's packets fit "+
			"the underlay, were not looked at", r.FileError).
			but("run it as root").about(AboutFile))
	case r.FileError != "":
		all = append(all, say(Look, "%s", r.FileError).
			but("cygnet check says what is wrong with the file").about(AboutFile))
	}
	if r.DaemonError != "" {
		all = append(all, say(Wrong, "cygnetd does not answer: %s", r.DaemonError).
			but("systemctl status cygnetd, journalctl -u cygnetd; what follows is from the "+
				"configuration, the kernel and probes of this command").about(AboutDaemon))
	} else {
		all = append(all, say(Good, "cygnetd answers").about(AboutDaemon))
	}
	if r.Charon.Needed {
		all = append(all, r.Charon.judge().about(AboutCharon))
	}
	return append(all, r.Clock.judge().about(AboutClock))
}

func (c *Charon) judge() judged {
	if c.Error != "" {
		return say(Wrong, "charon does not answer on this router: %s", c.Error).
			but("systemctl status strongswan: without it no new SA comes up, and those there " +
				"are end at their lifetime")
	}
	return say(Good, "%s answers on this router", strings.TrimSpace("charon "+c.Version))
}

func (c *Clock) judge() judged {
	const unknown = "; the NHSs' clocks are not known, since neither IKE nor NHRP carries the time"
	switch {
	case c.Error != "":
		return say(Unknown, "the kernel does not say whether the clock is right: %s", c.Error)
	case !c.Synchronized:
		return say(Look, "by the kernel, nothing keeps the clock right"+unknown).
			but("timedatectl set-ntp true, or another NTP client: certificates are judged by " +
				"this clock")
	}
	return say(Good, "the clock is synchronized"+unknown)
}

// results judges what concerns an interface.
func (t *Tunnel) results() []Result {
	all := []Result{t.underlay().about(AboutUnderlay)}
	for _, c := range t.Certificates {
		all = append(all, say(c.Verdict, "%s", c.Text).about(AboutCertificates))
	}
	if t.Clients > 0 {
		all = append(all, say(Good, "%d registered here, %d of them behind NAT",
			t.Clients, t.ClientsNAT).about(AboutClients))
	}
	return all
}

// underlay judges what the tunnel sends from, and whether its packets fit there.
func (t *Tunnel) underlay() judged {
	from := addressesOf(t.Address, t.Second)
	where := "from " + from
	if t.Device != "" {
		where = fmt.Sprintf("over %s from %s, which takes packets of %d bytes",
			t.Device, from, t.UnderlayMTU)
	}
	switch {
	case t.Error != "":
		return say(Wrong, "the tunnel does not work: %s", t.Error).
			but("cygnet status and cygnet check say more")
	case from == "":
		return say(Wrong, "the underlay has no address to send from").
			but("ip address; wait for DHCP or PPPoE, or correct underlay in the configuration")
	case t.FitMTU > 0 && t.MTU > t.FitMTU && t.OuterDF == "always":
		return say(Wrong, "%s; of the tunnel's MTU of %d bytes at most %d fit, and longer "+
			"packets are dropped (outer_df is always)", where, t.MTU, t.FitMTU).
			but("set mtu = %d on all routers, or outer_df = \"never\"", t.FitMTU)
	case t.FitMTU > 0 && t.MTU > t.FitMTU:
		return say(Look, "%s; of the tunnel's MTU of %d bytes at most %d fit into one packet, "+
			"and longer ones leave in fragments", where, t.MTU, t.FitMTU).
			but("set mtu = %d on all routers, if fragments are lost on the way", t.FitMTU)
	}
	return say(Good, "the tunnel sends %s", where)
}

// addressesOf lists the valid ones of some addresses.
func addressesOf(all ...netip.Addr) string {
	var words []string
	for _, a := range all {
		if a.IsValid() {
			words = append(words, a.String())
		}
	}
	return strings.Join(words, ", ")
}

// results judges the way to an NHS.
func (s *Server) results(t *Tunnel, r *Report) []Result {
	var all []Result
	add := func(what string, j judged) { all = append(all, j.about(what)) }
	if s.Resolved != nil {
		add(AboutName, s.Resolved.judge(t))
	}
	if s.Way != nil {
		add(AboutRoute, s.Way.judge(t))
	}
	if len(s.Ports) > 0 {
		add(AboutIKE, s.ike())
	}
	if s.NAT != nil {
		add(AboutNAT, s.NAT.judge())
	}
	if s.ESP != nil {
		add(AboutESP, s.esp())
	}
	if s.Size != nil {
		add(AboutMTU, s.size(t))
	}
	if s.State != "" {
		add(AboutRegistration, s.registration())
	}
	return all
}

// registered is the State of a Server that this router is registered with.
const registered = "registered"

// registration judges the state of the registration.
func (s *Server) registration() judged {
	switch s.State {
	case registered:
		return say(Good, "this router is registered")
	case "reserve":
		return say(Good, "left alone: as many NHSs as may be are used")
	case "left":
		return say(Look, "this router said goodbye").but("cygnet reload has it join again")
	}
	found := "not registered: " + s.State
	if s.Error != "" {
		found += ": " + s.Error
	}
	return say(Wrong, "%s", found).but("cygnet nhs and cygnet status say more")
}

// slow is a look-up that takes so many seconds that a resolver probably does not answer.
const slow = 2

// judge judges the look-up of a name.
func (r *Resolved) judge(t *Tunnel) judged {
	given := slices.Concat(r.IPv4, r.IPv6)
	asked := "by this host's hosts file and resolver"
	if len(r.Resolvers) > 0 {
		asked += " at " + strings.Join(r.Resolvers, ", ")
	}
	answer := fmt.Sprintf("%s (%s), after %s", addressesOf(given...), asked, seconds(r.Seconds))
	usable := func(a netip.Addr) bool {
		return !t.Address.IsValid() || a.Is4() == t.Address.Is4() ||
			t.Second.IsValid() && a.Is4() == t.Second.Is4()
	}
	unlisted := slices.DeleteFunc(slices.Clone(r.Used), func(a netip.Addr) bool {
		return slices.Contains(given, a)
	})
	switch {
	case len(given) == 0 && len(r.Used) > 0:
		return say(Look, "no address (%s): %s; the daemon goes on with %s", asked, r.Error,
			addressesOf(r.Used...)).but("resolvectl query, /etc/resolv.conf, /etc/hosts")
	case len(given) == 0:
		return say(Wrong, "no address (%s): %s", asked, r.Error).
			but("correct the name in nhs, or the resolver: resolvectl query, " +
				"/etc/resolv.conf, /etc/hosts")
	case !slices.ContainsFunc(given, usable):
		return say(Wrong, "%s: none that the tunnel can send to from %s", answer,
			addressesOf(t.Address, t.Second)).
			but("give the name an address of that IP version, or the underlay one of the other")
	case len(unlisted) > 0:
		return say(Look, "%s; the daemon uses %s, which is not among them", answer,
			addressesOf(unlisted...)).
			but("it looks the name up every minute: if that stays, see journalctl -u cygnetd")
	case r.Seconds >= slow:
		return say(Look, "%s", answer).
			but("the first resolver probably does not answer: see /etc/resolv.conf")
	}
	return say(Good, "%s", answer)
}

// judge judges the route to an NHS.
func (w *Way) judge(t *Tunnel) judged {
	if w.Error != "" {
		return say(Wrong, "%s", w.Error).
			but("give the underlay a route there: ip route get, cygnet check")
	}
	text := "over " + w.Device
	if w.Gateway.IsValid() {
		text += " via " + w.Gateway.String()
	}
	if w.Source.IsValid() {
		text += " from " + w.Source.String()
	}
	text += fmt.Sprintf(", by %s of table %d; %s takes %d bytes",
		prefixName(w.Prefix), w.Table, w.Device, w.MTU)
	if w.PathMTU > 0 && w.PathMTU != w.MTU {
		text += fmt.Sprintf(", and the route %d", w.PathMTU)
	}
	switch {
	case w.Tunnel:
		return say(Wrong, "%s: it leads into a tunnel in place of the underlay", text).
			but("give the underlay a table or a VRF of its own (underlay_table, underlay_vrf); " +
				"cygnet check says how")
	case t.Device != "" && w.Device != t.Device:
		return say(Look, "%s: the tunnel's address is on %s", text, t.Device).
			but("if the provider of %s drops that source, give the underlay a table of its "+
				"own (underlay_table)", w.Device)
	}
	return say(Good, "%s", text)
}

// prefixName returns a prefix as the kernel's tools write it.
func prefixName(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "a route"
	case p.Bits() == 0:
		return "default"
	}
	return p.String()
}

// seconds returns a time as people read it.
func seconds(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%.1f ms", s*1000)
	}
	return fmt.Sprintf("%.1f s", s)
}
