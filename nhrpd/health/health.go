// Package health finds out from a status what is wrong. It has no state. It alone decides which
// states of the daemon count as problems and how they are described. Problems that no field of the
// status shows are reported by the daemon itself; see nhrpd.
package health

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// Diagnose returns the problems that the fields of a status show, together with those that the
// status lists already. Errors come before warnings, and the daemon's own problems before those of
// its interfaces.
func Diagnose(s *api.Status) []api.Problem {
	all := append([]api.Problem{}, s.Problems...)
	all = append(all, strongSwan(s)...)
	for i := range s.Interfaces {
		all = append(all, iface(s, &s.Interfaces[i])...)
	}
	all = append(all, tables(&s.Tables)...)
	all = append(all, routes(s.Routes)...)
	slices.SortStableFunc(all, func(a, b api.Problem) int { return rank(&a) - rank(&b) })
	return all
}

// Worst returns the highest severity among problems, or "" if there are none.
func Worst(problems []api.Problem) api.Severity {
	worst := api.Severity("")
	for i := range problems {
		switch {
		case problems[i].Severity == api.SeverityError:
			return api.SeverityError
		default:
			worst = api.SeverityWarning
		}
	}
	return worst
}

func rank(p *api.Problem) int {
	switch {
	case p.Severity != api.SeverityError:
		return 2
	case p.Interface != "":
		return 1
	}
	return 0
}

// needsStrongSwan reports whether at least one interface needs charon now.
func needsStrongSwan(s *api.Status) bool {
	return slices.ContainsFunc(s.Interfaces, func(i api.Interface) bool {
		return i.Protected && !i.Left
	})
}

func strongSwan(s *api.Status) []api.Problem {
	if s.StrongSwan.Connected || !needsStrongSwan(s) {
		return nil
	}
	text := "strongSwan is not reachable"
	if s.StrongSwan.Socket != "" {
		text += " at " + s.StrongSwan.Socket
	}
	if !s.StrongSwan.Since.IsZero() {
		text += " for " + wording.Span(s.Now.Sub(s.StrongSwan.Since))
	}
	text += ": traffic goes on through the SAs that are there, and no peer can be secured"
	if s.StrongSwan.Error != "" {
		text += " (" + s.StrongSwan.Error + ")"
	}
	return []api.Problem{{Code: api.ProblemStrongSwan, Severity: api.SeverityError,
		Subject: s.StrongSwan.Socket, Text: text,
		Remedy: "start charon (strongswan.service), and see that it loads the vici plugin",
		Since:  s.StrongSwan.Since}}
}

// iface returns what is wrong with one interface, with the most far-reaching problem first.
func iface(s *api.Status, i *api.Interface) []api.Problem {
	of := reporter{iface: i.Name}
	of.tunnel(i, s.Now)
	if i.Left {
		return of.found // an interface that has left has no servers and peers to report
	}
	of.clear(i.ClearGRE, s.Now)
	reported := map[string]bool{}
	for n := range i.NHS {
		if of.nhs(s, i, &i.NHS[n]) && i.NHS[n].NBMA.IsValid() {
			reported[i.NHS[n].NBMA.String()] = true
		}
	}
	for n := range i.Peers {
		of.peer(s, i, &i.Peers[n], reported)
	}
	of.duplicates(i.Peers)
	return of.found
}

// reporter collects the problems of one interface.
type reporter struct {
	iface string
	found []api.Problem
}

func (r *reporter) add(p api.Problem) {
	p.Interface = r.iface
	r.found = append(r.found, p)
}

func (r *reporter) error(code api.ProblemCode, subject, text, remedy string) {
	r.add(api.Problem{
		Code: code, Severity: api.SeverityError, Subject: subject, Text: text, Remedy: remedy,
	})
}

func (r *reporter) warn(code api.ProblemCode, subject, text, remedy string) {
	r.add(api.Problem{
		Code: code, Severity: api.SeverityWarning, Subject: subject, Text: text, Remedy: remedy,
	})
}

// clientsLeft says how many clients are registered.
func clientsLeft(i *api.Interface) string {
	switch n := i.Clients(); n {
	case 0:
		return "no client is left"
	case 1:
		return "1 client is left"
	default:
		return fmt.Sprintf("%d clients are left", n)
	}
}

func (r *reporter) tunnel(i *api.Interface, now time.Time) {
	const rejoin = "systemctl reload cygnetd makes it join again"
	if !i.Protected {
		r.warn(
			api.ProblemUnprotected,
			"",
			`NOT PROTECTED: GRE and NHRP go over the underlay in clear (protection = "none")`,
			"",
		)
	}
	if i.Draining && !i.Left {
		r.warn(api.ProblemDraining, "", "drained by cygnet drain: "+clientsLeft(i)+", and new ones are refused",
			"cygnet drain --off takes clients again")
	}
	switch {
	case i.Left:
		r.warn(
			api.ProblemLeft,
			"",
			"left by cygnet leave, inactive until the daemon is reloaded or restarted",
			rejoin,
		)
	case i.Error != "":
		r.error(api.ProblemInterface, "", i.Error, "")
	case i.Index == 0:
		r.error(api.ProblemTunnelMissing, "", "the tunnel interface does not exist", "")
	case !i.Up:
		r.error(api.ProblemTunnelDown, "", "the tunnel interface is down", "")
	case !i.NBMA.IsValid():
		r.error(
			api.ProblemUnderlayAddress,
			"",
			"the underlay has no address, so nothing can be sent",
			"",
		)
	case i.Absent:
		r.warn(
			api.ProblemUnderlayAddress,
			"",
			fmt.Sprintf("standing by: this host does not have the address %s, so the tunnel "+
				"carries nothing", i.NBMA),
			"nothing, if another router has the address now and this one gets it when that one is gone",
		)
	}
	if !i.Left {
		r.authorizer(i.Authorizer, now)
		r.dataPath(i)
		r.uplinks(i.Uplinks)
		r.links(i.Links)
	}
}

// links reports peers at IPv6 addresses that have no device, and devices that are not as they
// should be.
func (r *reporter) links(l *api.Links) {
	if l == nil {
		return
	}
	if l.Refused > 0 {
		r.error(api.ProblemLinks, "limit",
			fmt.Sprintf("%d peers at IPv6 addresses are refused: there are %d devices for such "+
				"peers, and no more are allowed", l.Refused, l.Devices),
			fmt.Sprintf("raise links, which is %d, in [interface.%s.limits]; each device takes "+
				"some 45 kB, and thousands take long to make", l.Limit, r.iface))
	}
	if l.Error != "" {
		r.error(api.ProblemLinks, "devices",
			"the devices of peers at IPv6 addresses are not as they should be, and are tried again: "+
				l.Error, "")
	}
}

// uplinks reports that the tunnel sends from another device than the best one.
func (r *reporter) uplinks(u *api.Uplinks) {
	if u == nil || u.Devices[0].InUse {
		return
	}
	for n, d := range u.Devices {
		if !d.InUse {
			continue
		}
		r.warn(api.ProblemUplinkReserve, d.Device,
			fmt.Sprintf("the tunnel sends from %s, the uplink %d of %d: %s", d.Device, n+1,
				len(u.Devices), u.Reason),
			fmt.Sprintf("see why no next hop server answers over %s: its carrier, address, routes "+
				"and provider; the tunnel comes back by itself", u.Devices[0].Device))
	}
}

// dataPath reports what is wrong with the eBPF programs on the tunnel.
func (r *reporter) dataPath(i *api.Interface) {
	switch {
	case i.Admission == api.AdmissionUnenforced:
		r.warn(api.ProblemAdmissionUnenforced, "",
			"admission is not enforced: data of every router that has an SA is taken"+
				fault(i.AdmissionReason), "")
	case i.AdmissionReason != "":
		r.warn(api.ProblemAdmissionBypassed, "",
			"data may pass beside admission: "+i.AdmissionReason, "")
	}
	if i.DataPathError != "" {
		r.error(api.ProblemDataPath, "",
			"eBPF on the tunnel is not as it should be, and tried again: "+i.DataPathError, "")
	}
	r.multicast(i)
}

// multicast reports why routers may not get what is sent to groups.
func (r *reporter) multicast(i *api.Interface) {
	m := i.Multicast
	switch {
	case m == nil:
	case m.Error != "":
		r.error(
			api.ProblemMulticast,
			"",
			"routers may not get what is sent to groups, such as hellos of routing protocols: "+
				m.Error,
			"",
		)
	case m.Mode == api.MulticastUserSpace:
		r.warn(
			api.ProblemMulticastUserSpace,
			"",
			"the daemon itself sends what is for groups, and only while it runs"+fault(
				m.Reason,
			),
			"",
		)
	}
}

// fault returns the reason of a problem in the form of the end of a sentence.
func fault(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func tables(t *api.Tables) []api.Problem {
	if t.Failing == 0 {
		return nil
	}
	return []api.Problem{
		{Code: api.ProblemKernelRefuses, Severity: api.SeverityError, Text: failing(t)},
	}
}

func routes(all []api.Route) []api.Problem {
	var found []api.Problem
	for i := range all {
		r := &all[i]
		if r.Error == "" && r.Installed {
			continue
		}
		text := "route " + r.Prefix.String()
		if r.NextHop.IsValid() {
			text += " via " + r.NextHop.String()
		}
		if r.Error != "" {
			text += fault(r.Error)
		} else {
			text += " is wanted but not in the kernel"
		}
		found = append(found,
			api.Problem{Code: api.ProblemRouteMissing, Severity: api.SeverityError,
				Interface: r.Interface,
				Subject:   r.Prefix.String(), Text: text})
	}
	return found
}

func join(words []string) string { return strings.Join(words, " and ") }
