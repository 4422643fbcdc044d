package netcheck

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The ports of IKE.
const (
	portIKE = 500
	portNAT = 4500
)

// ike judges what IKE's ports answered. An answer proves that UDP passes both ways, and not who
// answered. An SA proves that IKE passed when it was made.
func (s *Server) ike() judged {
	first, second := s.at(portIKE), s.at(portNAT)
	text := first.text() + ", " + second.text()
	secured := s.ESP != nil && s.ESP.SA
	translated := s.NAT != nil && (s.NAT.Local || s.NAT.Remote)
	both := first.Outcome == Answered && second.Outcome == Answered
	switch either := first.Outcome == Answered || second.Outcome == Answered; {
	case both:
		return say(Good, "%s: UDP passes both ways, and an IKE daemon is there", text)
	case first.Outcome == Refused || second.Outcome == Refused:
		return say(Wrong, "%s: the host is there, and no IKE daemon listens", text).
			but("start strongSwan on the NHS; a firewall that rejects looks the same")
	case !either && secured:
		return say(Look, "%s; there is an SA, so IKE passed when that was made", text).
			but("a firewall lets only charon's own ports pass, or has dropped IKE since: " +
				"see cygnet events")
	case !either:
		return say(Wrong, "%s: nothing comes back", text).
			but("a firewall on the way or at the NHS drops UDP 500 and 4500, the NHS is down, "+
				"or its address is another: ping %s, and tcpdump there", s.Address)
	case first.Outcome != Answered && !secured:
		return say(Wrong, "%s: IKE begins at port 500", text).
			but("let UDP 500 pass on the way and at the NHS")
	case second.Outcome != Answered && translated:
		return say(Wrong, "%s: there is NAT on the way, which needs port 4500", text).
			but("let UDP 4500 pass on the way and at the NHS")
	}
	return say(Look, "%s", text).
		but("let UDP 500 and 4500 pass: with NAT on the way IKE changes from one to the other")
}

// at returns what came of asking a port.
func (s *Server) at(port int) Port {
	for _, p := range s.Ports {
		if p.Port == port {
			return p
		}
	}
	return Port{Port: port, Outcome: Silent}
}

// text says what a port did.
func (p *Port) text() string {
	switch p.Outcome {
	case Answered:
		return fmt.Sprintf("port %d answers after %s", p.Port, seconds(p.Seconds))
	case Silent:
		return fmt.Sprintf("port %d is SILENT", p.Port)
	}
	return fmt.Sprintf("port %d: %s", p.Port, strings.ToUpper(p.Outcome))
}

// judge judges what is known of NAT. NAT is no fault by itself. NHRP tells addresses and no ports:
// so an address that differs shows that the mapping depends on who is addressed, and one that does
// not differ leaves that open.
func (n *NAT) judge() judged {
	others := slices.DeleteFunc(slices.Clone(n.Others), func(a netip.Addr) bool {
		return a.Is4() != n.Own.Is4()
	})
	differs := slices.ContainsFunc(others, func(a netip.Addr) bool { return a != n.Seen })
	remote := ""
	if n.Remote {
		remote = "; the NHS is behind NAT, too"
	}
	switch {
	case n.Seen.IsValid() && n.Seen != n.Own && differs:
		return say(Look, "this router sends from %s, this NHS sees %s, and others see %s%s: the "+
			"mapping depends on who is addressed", n.Own, n.Seen, addressesOf(others...), remote).
			but("direct paths to routers behind NAT may not come up, and their traffic goes by " +
				"the hub: have the NAT use one address, or map UDP 500 and 4500 to this router")
	case n.Seen.IsValid() && n.Seen != n.Own && len(others) > 0:
		return say(Good, "this router sends from %s, and %d NHSs see %s%s; whether ports depend "+
			"on who is addressed is not told by NHRP: compare remote_port in \"cygnet sas "+
			"--json\" on the NHSs", n.Own, len(others)+1, n.Seen, remote)
	case n.Seen.IsValid() && n.Seen != n.Own:
		return say(Good, "this router sends from %s, and the NHS sees %s%s; a second NHS would "+
			"tell whether that depends on who is addressed", n.Own, n.Seen, remote)
	case n.Local && n.Seen.IsValid():
		return say(Good, "the NHS sees this router's own address %s, and IKE found that something "+
			"is changed: a NAT that changes ports, or encap = yes, which has IKE pretend so%s",
			n.Own, remote)
	case n.Local:
		return say(Good, "IKE found that this router (%s) is behind NAT; which address the NHS "+
			"sees is not known%s", n.Own, remote)
	case n.Remote:
		return say(Good, "the NHS is behind NAT, this router (%s) is not", n.Own)
	case n.SA || n.Seen.IsValid():
		return say(Good, "none: the NHS sees %s", n.Own)
	}
	return say(Unknown, "not known: this router sends from %s, and neither IKE nor NHRP told what "+
		"the NHS sees", n.Own)
}

// esp judges the SA with an NHS and what passes through it.
func (s *Server) esp() judged {
	e := s.ESP
	kind, filter := "plain ESP", "IP protocol 50 (ESP)"
	if e.InUDP {
		kind, filter = "ESP in UDP", "UDP 4500"
	}
	text := fmt.Sprintf("%s, %d bytes in and %d out since the SA began", kind, e.In, e.Out)
	if e.Probed {
		text += fmt.Sprintf(", %d and %d of these by this check", e.NewIn, e.NewOut)
	}
	switch {
	case !e.SA && s.Use == "reserve":
		return say(Good, "no SA: the NHS is left alone now")
	case !e.SA && e.Error != "":
		return say(Wrong, "no SA: %s", e.Error).but("cygnet peers and cygnet events say more")
	case !e.SA:
		return say(Wrong, "no SA with the NHS").but("cygnet peers and cygnet events say why")
	case e.KernelIn > 0 && e.KernelOut > 0 && e.KernelUDP != e.InUDP:
		return say(Look, "%s; the kernel's ESP states say otherwise", text).
			but("cygnet clear peer %s has the SA made anew", s.Address)
	case s.Size != nil && (s.Size.Passed > 0 || s.Size.Plain):
		// Answers tell more than counters, which a list of charon's may have from earlier.
		return say(Good, "%s: it arrives both ways", text)
	case e.Probed && e.NewOut == 0:
		return say(Wrong, "%s: the packets of this check did not leave through the SA", text).
			but("see the route above, and cygnet explain %s", s.Protocol)
	case e.Probed && e.NewIn == 0 && e.In > 0 && s.State == registered:
		return say(Look, "%s: this router is registered, and nothing came back now", text).
			but("a router of another vendor may answer no packets of this check; cygnet register " +
				"now shows whether it answers a registration")
	case e.Probed && e.NewIn == 0, e.In == 0 && e.Out > 0:
		advice := "let " + filter + " pass on the way and at the NHS; see there whether any comes in"
		if !e.InUDP {
			advice += "; where that cannot be, encap = \"yes\" in the connection has ESP travel " +
				"in UDP"
		}
		return say(Wrong, "%s: ESP leaves and NOTHING COMES BACK", text).but("%s", advice)
	case e.In == 0:
		return say(Unknown, "%s: nothing was sent yet", text)
	}
	return say(Good, "%s: it arrives both ways", text)
}

// size judges the longest packet that passes the tunnel and back.
func (s *Server) size(t *Tunnel) judged {
	if z := s.Size; z.Error == "" && z.Passed == 0 && !z.Plain && s.State == registered {
		return say(Unknown, "not measured: no packet was answered (%d sent through the tunnel), and "+
			"this router is registered: a router of another vendor may answer none of these; "+
			"ping -M do through the tunnel tells instead", z.Packets)
	}
	return s.Size.judge(t)
}

// judge judges the longest packet that passes the tunnel and back.
func (s *Size) judge(t *Tunnel) judged {
	sent := fmt.Sprintf("%d packets sent through the tunnel", s.Packets)
	how := ""
	if t.OuterDF != "" && t.OuterDF != "always" {
		how = "; in fragments where the path is smaller (outer_df is " + t.OuterDF + ")"
	}
	switch {
	case s.Error != "":
		return say(Unknown, "not measured: %s", s.Error)
	case s.Passed >= s.MTU && s.Passed > 0:
		return say(Good, "the tunnel's %d bytes pass both ways, round trip %s%s",
			s.MTU, seconds(s.Seconds), how)
	case s.Passed > 0:
		cure := fmt.Sprintf("set mtu = %d on all routers", s.Passed)
		if t.OuterDF == "always" {
			cure += ", or outer_df = \"never\", which has longer packets leave in fragments"
		} else {
			cure += ", since fragments seem to be lost on the way"
		}
		return say(Wrong, "%d bytes pass both ways, %d of the tunnel's %d do NOT (%s)",
			s.Passed, s.Lost, s.MTU, sent).but("%s", cure)
	case s.Plain:
		return say(Unknown, "not measured: the NHS answers NHRP and no probes of Cygnet, so it is "+
			"of another vendor or drops data of this router: ping -M do through the tunnel "+
			"tells instead")
	}
	return say(Wrong, "no packet was answered (%s)", sent).
		but("cygnet ping, cygnet peers and the log of the NHS say more")
}
