package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/health"
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
		health.Span(now.Sub(s.Started)), s.PID)
	if s.StrongSwan.Connected {
		in.printf("strongSwan %s, connected for %s\n", clean(s.StrongSwan.Version),
			health.Span(now.Sub(s.StrongSwan.Since)))
	}
	in.problems(s.Problems)
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
	in.printf("%s  %s  %s\n", clean(i.Name), i.Address, condition(i))
	in.line("underlay", underlay(i))
	in.line("clear GRE", clearGRE(i.ClearGRE))
	in.line("role", role(i))
	for _, n := range i.NHS {
		in.line("nhs", registration(&n, now))
	}
	in.line("bindings", bindings(i.Bindings))
	in.line("shortcuts", tally(i.Shortcuts, func(s api.Shortcut) string {
		return string(s.State)
	}, "up", "securing", "resolving"))
	in.line("peers", tally(i.Peers, func(p api.Peer) string {
		return string(p.State)
	}, "secured", "securing", "absent"))
	for _, line := range behindNAT(i.Peers) {
		in.line("behind NAT", line)
	}
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
	case i.Up:
		words = append(words, "up")
	default:
		words = append(words, "DOWN")
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
	case i.PublicNBMA.IsValid():
		return fmt.Sprintf("%s, seen from outside as %s (NAT)", i.NBMA, i.PublicNBMA)
	}
	return i.NBMA.String()
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
		text += fmt.Sprintf("; %d packets stopped there", n)
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

func registration(n *api.NHS, now time.Time) string {
	name := health.Server(n)
	if n.Protocol.IsValid() {
		name = fmt.Sprintf("%s at %s", n.Protocol, name)
	}
	if n.State == api.NHSRegistered {
		return fmt.Sprintf("%s: registered %s, expires %s",
			name, when(n.Registered, now), when(n.Expires, now))
	}
	return fmt.Sprintf("%s: %s", name, n.State)
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
