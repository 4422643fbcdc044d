package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/health"
	"cygnet/nhrpd/wording"
)

func showStatus(in *invocation, _ string) error {
	client, ctx, cancel := in.ask()
	defer cancel()
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	if status.Problems == nil { // a daemon older than the problems in the status
		status.Problems = health.Diagnose(status)
	}
	if !in.json {
		in.overview(status, in.now())
	} else if err := in.printJSON(status); err != nil {
		return err
	}
	return verdictOf(status.Problems)
}

// overview writes the status as text: first what is wrong, then each interface.
func (in *invocation) overview(s *api.Status, now time.Time) {
	in.printf("cygnetd %s, running for %s (pid %d)\n", clean(s.Version),
		wording.Span(now.Sub(s.Started)), s.PID)
	if s.StrongSwan.Connected {
		in.printf("strongSwan %s, connected for %s\n", clean(s.StrongSwan.Version),
			wording.Span(now.Sub(s.StrongSwan.Since)))
	}
	in.problems(s.Problems)
	in.bullets("LOG LEVEL", logLevels(s.LogLevels, now))
	in.bullets("BLOCKED", blockedLines(s.Blocked))
	if len(s.Interfaces) == 0 {
		in.printf("\nNo interface is configured.\n")
	}
	for i := range s.Interfaces {
		in.printf("\n")
		in.block(&s.Interfaces[i], now)
	}
	in.printf("\nNHRP packets: %s received, %s sent, %s dropped%s\n",
		total(s.Counters.Received), total(s.Counters.Sent), total(s.Counters.Dropped),
		clean(health.Counts(s.Counters.Dropped)))
	in.bullets("ADVICE", s.Advice)
}

func (in *invocation) bullets(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	in.printf("\n%s\n", title)
	for _, l := range lines {
		in.printf("  * %s\n", clean(l))
	}
}

// block writes one interface.
func (in *invocation) block(i *api.Interface, now time.Time) {
	in.printf("%s  %s  %s\n", clean(i.Name), overlayAddresses(i), condition(i))
	in.line("underlay", underlay(i))
	for _, line := range uplinks(i.Uplinks, now) {
		in.line("uplink", line)
	}
	if len(i.SharesSAs) > 0 {
		in.line("SAs", "shared with "+strings.Join(i.SharesSAs, ", "))
	}
	if i.SAKey != 0 {
		in.line("SAs", fmt.Sprintf("its own, for key %d alone", i.SAKey))
	}
	in.line("mtu", largest(i))
	in.line("clear GRE", clearGRE(i.ClearGRE))
	in.line("role", role(i))
	in.line("multicast", groups(i.Multicast))
	for _, n := range i.NHS {
		for _, r := range n.Each() {
			in.line("nhs", registration(&r, now))
		}
	}
	in.line("links", links(i.Links))
	in.line("bindings", bindings(i.Bindings))
	in.line("shortcuts", tally(i.Shortcuts, func(s api.Shortcut) string {
		return string(s.State)
	}, "up", "securing", "resolving", "impossible"))
	in.line("peers", tally(i.Peers, func(p api.Peer) string {
		return string(p.State)
	}, "secured", "securing", "absent"))
	in.line("flapping", flapping(i.Peers))
	for _, line := range behindNAT(i.Peers) {
		in.line("behind NAT", line)
	}
}

// mostFlapping is how many flapping peers the overview names.
const mostFlapping = 3

// flapping names the peers that lost their SAs more than once in the last hour, the worst first.
func flapping(peers []api.Peer) string {
	worst := slices.DeleteFunc(slices.Clone(peers), func(p api.Peer) bool { return p.Flaps < 2 })
	slices.SortStableFunc(worst, func(a, b api.Peer) int { return cmp.Compare(b.Flaps, a.Flaps) })
	var texts []string
	for n, p := range worst {
		if n == mostFlapping {
			texts = append(texts, fmt.Sprintf("and %d more", len(worst)-n))
			break
		}
		texts = append(texts, fmt.Sprintf("%s lost its SA %d times in the last hour",
			cmp.Or(p.Identity, p.NBMA.String()), p.Flaps))
	}
	return strings.Join(texts, ", ")
}

// overlayAddresses lists the overlay addresses of an interface.
func overlayAddresses(i *api.Interface) string {
	if len(i.Addresses) == 0 {
		return i.Address.String() // an earlier version of the daemon
	}
	texts := make([]string, len(i.Addresses))
	for k, a := range i.Addresses {
		texts[k] = a.String()
	}
	return strings.Join(texts, ", ")
}

// behindNAT lists the addresses at which several routers are reached.
func behindNAT(peers []api.Peer) []string {
	counts := map[netip.Addr]int{}
	for _, p := range peers {
		if p.Mark != 0 {
			counts[p.NBMA]++
		}
	}
	for _, p := range peers {
		if p.Mark == 0 && counts[p.NBMA] > 0 && p.State == api.PeerSecured {
			counts[p.NBMA]++
		}
	}
	var lines []string
	for _, a := range slices.SortedFunc(maps.Keys(counts), netip.Addr.Compare) {
		lines = append(lines,
			fmt.Sprintf("%d at %s, each reached by an SA of its own", counts[a], a))
	}
	return lines
}

func (in *invocation) line(key, text string) {
	if text != "" {
		in.printf("  %-10s %s\n", key, clean(text))
	}
}

func condition(i *api.Interface) string {
	var words []string
	switch {
	case i.Left:
		words = append(words, "left")
	case i.Up && i.Dormant:
		words = append(words, "DORMANT as no NHS is usable")
	case i.Up:
		words = append(words, "up")
	default:
		words = append(words, "DOWN")
	}
	if i.VRF != "" {
		words = append(words, "in the VRF "+clean(i.VRF))
	}
	if i.Protected {
		return strings.Join(append(words, "protected by IPsec"), ", ")
	}
	return strings.Join(append(words, "NOT PROTECTED"), ", ")
}

func underlay(i *api.Interface) string {
	switch {
	case !i.NBMA.IsValid():
		return "no address"
	case i.Absent:
		return fmt.Sprintf("%s, which this host does not have now", i.NBMA)
	case i.PublicNBMA.IsValid():
		return fmt.Sprintf("%s, seen from outside as %s (NAT)", i.NBMA, i.PublicNBMA)
	}
	if i.SecondNBMA.IsValid() {
		return fmt.Sprintf("%s and %s", i.NBMA, i.SecondNBMA)
	}
	return i.NBMA.String()
}

// links describes the devices of the peers at IPv6 addresses, if there are any.
func links(l *api.Links) string {
	if l == nil || l.Devices+l.Refused == 0 {
		return ""
	}
	text := fmt.Sprintf("%d devices of peers at IPv6 addresses, %d allowed", l.Devices, l.Limit)
	if l.Refused > 0 {
		text += fmt.Sprintf("; %d peers REFUSED", l.Refused)
	}
	return text
}

// uplinks describes the devices that the tunnel can send from.
func uplinks(u *api.Uplinks, now time.Time) []string {
	if u == nil {
		return nil
	}
	var lines []string
	for _, d := range u.Devices {
		text := d.Device
		switch {
		case !d.Address.IsValid():
			text += ": no address, or no carrier"
		case d.InUse:
			text += fmt.Sprintf(": in use, chosen %s: %s", wording.When(u.Since, now), u.Reason)
		case !d.Returns.IsZero():
			text += fmt.Sprintf(": a next hop server answers over it, in use again %s",
				wording.When(d.Returns, now))
		case d.Lost > 0:
			text += fmt.Sprintf(": no answer to the last %d probes", d.Lost)
		case !d.Answered.IsZero():
			text += fmt.Sprintf(": in reserve, a next hop server answered over it %s",
				wording.When(d.Answered, now))
		default:
			text += ": in reserve"
		}
		lines = append(lines, text)
	}
	return lines
}

// largest describes up to which length the tunnel takes packets, and what becomes of those that are
// longer than the path to a peer. It returns nothing where all is as by default: a configured MTU,
// and fragments.
func largest(i *api.Interface) string {
	fragments := i.OuterDF == "never" || i.OuterDF == ""
	if i.MTU == 0 || fragments && !i.MTUAuto && i.MSSLowered == 0 {
		return ""
	}
	text := strconv.Itoa(i.MTU)
	if i.MTUAuto {
		text += ", by the underlay's"
	}
	if i.MSSLowered > 0 {
		text += fmt.Sprintf("; %d TCP segment sizes lowered", i.MSSLowered)
	}
	switch i.OuterDF {
	case "copy":
		text += "; what a path does not take leaves in fragments, or is lost if it has don't " +
			"fragment (nopmtudisc)"
	case "always":
		text += "; what a path does not take is lost (pmtudisc)"
	}
	return text
}

// clearGRE describes where GRE without IPsec is stopped, in addition to the IPsec policies.
func clearGRE(c *api.ClearGRE) string {
	if c == nil {
		return ""
	}
	text := "blocked by IPsec policies"
	if len(c.Devices) > 0 {
		text += ", and by filters on " + strings.Join(c.Devices, ", ")
	}
	if len(c.Offloaded) > 0 {
		text += "; no filters on " + strings.Join(c.Offloaded, ", ") + ", which does ESP itself"
	}
	if len(c.Ahead) > 0 {
		text += " (" + strings.Join(c.Ahead, ", ") + ")"
	}
	if n := c.StoppedIn + c.StoppedOut; n > 0 {
		text += "; " + wording.Packets(n) + " stopped there"
	}
	return text
}

func role(i *api.Interface) string {
	var words []string
	if i.Redirect {
		words = append(words, "sends redirects")
	}
	if i.Shortcut {
		words = append(words, "takes shortcuts")
	}
	if i.Sampling == api.SamplingNFLOG {
		words = append(words, "samples by NFLOG, as eBPF is not available")
	}
	if i.Admission == api.AdmissionUnenforced {
		words = append(words, "admission is not enforced")
	}
	return strings.Join(words, ", ")
}

// groups says who gets what is sent to groups; empty: nobody.
func groups(m *api.Multicast) string {
	if m == nil {
		return ""
	}
	routers := "routers"
	if m.Receivers == 1 {
		routers = "router"
	}
	text := fmt.Sprintf("to %d %s", m.Receivers, routers)
	switch m.Mode {
	case api.MulticastUserSpace:
		text += " by the daemon, as eBPF is not available"
	case api.MulticastWaits:
		text += ", once all NHSs are registered with"
	}
	return text
}

func registration(n *api.NHS, now time.Time) string {
	name := health.Server(n)
	if n.Protocol.IsValid() {
		name = fmt.Sprintf("%s at %s", n.Protocol, name)
	}
	use := use(n, now)
	if use != "" {
		use = "; " + use
	}
	switch n.State {
	case api.NHSRegistered:
		return fmt.Sprintf("%s: registered %s, expires %s%s",
			name, wording.When(n.Registered, now), wording.When(n.Expires, now), use)
	case api.NHSReserve:
		return name + ": in reserve"
	}
	return fmt.Sprintf("%s: %s%s", name, n.State, use)
}

// use says what this router does with an NHS of several, if that is not to use it.
func use(n *api.NHS, now time.Time) string {
	switch n.Use {
	case api.NHSUseProbing:
		return "probing"
	case api.NHSUseReturning:
		return "falls back to it " + wording.When(n.Returns, now)
	case api.NHSUseReserve:
		return "in reserve"
	}
	return ""
}

func bindings(all []api.Binding) string {
	static := 0
	for _, b := range all {
		if b.Static {
			static++
		}
	}
	if static > 0 {
		return fmt.Sprintf("%d registered, %d static", len(all)-static, static)
	}
	return fmt.Sprintf("%d registered", len(all))
}

// tally counts entries by state. It lists the counts in the order of states.
func tally[T any](entries []T, state func(T) string, states ...string) string {
	counts := map[string]int{}
	for _, e := range entries {
		counts[state(e)]++
	}
	var parts []string
	for _, s := range states {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[s], s))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func total(counts map[string]uint64) string {
	sum := uint64(0)
	for _, n := range counts {
		sum += n
	}
	return fmt.Sprint(sum)
}
