package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
)

// mostTroubles of one kind are listed on one interface; a hub may have thousands of peers that do not answer.
const mostTroubles = 10

// troubles says what is wrong, the most far-reaching first.
func troubles(s *api.Status, now time.Time) []string {
	var all []string
	protected := slices.ContainsFunc(s.Interfaces, func(i api.Interface) bool { return i.Protected })
	if protected && !s.StrongSwan.Connected {
		all = append(all, unreachable(&s.StrongSwan, now))
	}
	for i := range s.Interfaces {
		iface := &s.Interfaces[i]
		all = append(all, prefix(iface.Name, interfaceTroubles(iface))...)
		all = append(all, prefix(iface.Name, some(iface.NHS, func(n api.NHS) string { return nhsTrouble(&n, now) }))...)
		all = append(all, prefix(iface.Name, some(iface.Peers, func(p api.Peer) string { return peerTrouble(p, iface.MarksError) }))...)
		all = append(all, prefix(iface.Name, some(twins(iface.Peers), twinTrouble))...)
	}
	if s.Tables.Failing > 0 {
		all = append(all, failing(&s.Tables))
	}
	return append(all, some(s.Routes, routeTrouble)...)
}

func unreachable(s *api.StrongSwan, now time.Time) string {
	text := "strongSwan is not reachable"
	if s.Socket != "" {
		text += " at " + s.Socket
	}
	if !s.Since.IsZero() {
		text += " for " + span(now.Sub(s.Since))
	}
	text += ": no peer can be secured; is charon (strongswan.service) running?"
	if s.Error != "" {
		text += " (" + s.Error + ")"
	}
	return text
}

// failing says what the kernel does not take, and why, as far as it said so since the start.
func failing(t *api.Tables) string {
	return fmt.Sprintf("the kernel refuses %d of %d neighbours and routes; they are tried again%s",
		t.Failing, t.WantedNeighbors+t.WantedRoutes, detail(t.Failures))
}

func interfaceTroubles(i *api.Interface) []string {
	var all []string
	if !i.Protected {
		all = append(all, "NOT PROTECTED: GRE and NHRP go over the underlay in clear (protection = \"none\")")
	}
	switch {
	case i.Left:
		all = append(all, "left by cygnet leave, inactive until the daemon is reloaded or restarted")
	case i.Error != "":
		all = append(all, i.Error)
	case i.Index == 0:
		all = append(all, "the tunnel interface does not exist")
	case !i.Up:
		all = append(all, "the tunnel interface is down")
	case !i.NBMA.IsValid():
		all = append(all, "the underlay has no address, so nothing can be sent")
	}
	return all
}

func nhsTrouble(n *api.NHS, now time.Time) string {
	next := ""
	if n.Next.After(now) {
		next = "; next try " + when(n.Next, now)
	}
	because := ""
	if n.Error != "" {
		because = ": " + n.Error
	}
	switch {
	case n.State == api.NHSRefused:
		return fmt.Sprintf("NHS %s refuses our registration%s%s", server(n), because, next)
	case n.State == api.NHSUnresolved:
		return fmt.Sprintf("NHS %s: its name has no address%s%s", n.Name, because, next)
	case n.Attempts > 0:
		return fmt.Sprintf("NHS %s unanswered: %d requests in a row%s%s", server(n), n.Attempts, because, next)
	case n.State == api.NHSSecuring && n.Error != "":
		return fmt.Sprintf("NHS %s is not secured%s", server(n), because)
	}
	return ""
}

func peerTrouble(p api.Peer, marksError string) string {
	if len(p.SharedWith) > 0 {
		return sharedAddress(p, marksError)
	}
	if p.Prohibited != "" {
		return fmt.Sprintf("peer %s may do nothing here: %s", p.NBMA, p.Prohibited)
	}
	if p.Error == "" || p.State == api.PeerSecured {
		return ""
	}
	return fmt.Sprintf("peer %s is not secured: %s", p.NBMA, p.Error)
}

// twin is an identity with SAs from several addresses.
type twin struct {
	identity string
	at       []string
}

// twins finds the identities that several routers prove.
func twins(peers []api.Peer) []twin {
	at := map[string][]string{}
	for _, p := range peers {
		if p.State == api.PeerSecured && p.Identity != "" {
			at[p.Identity] = append(at[p.Identity], p.NBMA.String())
		}
	}
	var list []twin
	for _, identity := range slices.Sorted(maps.Keys(at)) {
		if len(at[identity]) > 1 {
			list = append(list, twin{identity, at[identity]})
		}
	}
	return list
}

// twinTrouble says what it means: for some seconds a router that moved looks the same.
func twinTrouble(t twin) string {
	return fmt.Sprintf("%s is proven from %s: two routers with one identity, of which one overlay address serves the last to come, "+
		"or one that moved within the last half minute", t.identity, strings.Join(t.at, " and "))
}

// sharedAddress says what it means that several routers are behind one NAT address.
func sharedAddress(p api.Peer, marksError string) string {
	routers := slices.Sorted(slices.Values(append([]string{p.Identity}, p.SharedWith...)))
	text := fmt.Sprintf("%s share the address %s behind NAT: what is sent there goes into the newest SA", strings.Join(routers, ", "), p.NBMA)
	if p.Reached != "" {
		text += ", that of " + p.Reached + ", and the others get nothing"
	}
	if marksError != "" {
		text += " (" + marksError + ")"
	}
	return text + "; give each an address of its own, or routes to each other inside their site"
}

func routeTrouble(r api.Route) string {
	switch {
	case r.Error != "":
		return fmt.Sprintf("%s: route %s via %s: %s", r.Interface, r.Prefix, r.NextHop, r.Error)
	case !r.Installed:
		return fmt.Sprintf("%s: route %s via %s is wanted but not in the kernel", r.Interface, r.Prefix, r.NextHop)
	}
	return ""
}

// some returns the troubles of the first entries that have one, and the number of the others.
func some[T any](entries []T, trouble func(T) string) []string {
	var all []string
	for _, e := range entries {
		if t := trouble(e); t != "" {
			all = append(all, t)
		}
	}
	if more := len(all) - mostTroubles; more > 0 {
		all = append(all[:mostTroubles], fmt.Sprintf("and %d more of this kind", more))
	}
	return all
}

func prefix(name string, lines []string) []string {
	for i := range lines {
		lines[i] = name + ": " + lines[i]
	}
	return lines
}
