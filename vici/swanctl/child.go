package swanctl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// children finds the child that carries GRE and checks it. It must be the only child, since the
// daemon closes a peer's IKE_SA when GRE no longer needs it.
func (k *check) children(c *Connection) *Section {
	var all []*Section
	at := c.At
	for _, s := range c.below("children") {
		all, at = append(all, s.Sections...), s.At
	}
	if len(all) == 0 {
		k.problem(at, "children", "no child; add children { gre { mode = transport, local_ts = dynamic[gre] and remote_ts = dynamic[gre] } }, a line each")
		return nil
	}
	gre := all[max(0, slices.IndexFunc(all, carriesGRE))]
	for _, s := range all {
		if s != gre {
			k.problem(s.At, "children."+s.Name, "another child than %s: the daemon opens and closes a peer's IKE_SA when GRE needs it; move this child to a connection of its own", quote(gre.Name))
		}
	}
	k.inside("children."+gre.Name, func(k *check) { k.child(gre) })
	return gre
}

func carriesGRE(s *Section) bool {
	key, ok := s.key("local_ts")
	return ok && slices.ContainsFunc(key.List, func(s string) bool {
		return isGRE(s) || greOfOneKey(s)
	})
}

// isGRE reports whether a traffic selector is for protocol 47 and nothing else.
func isGRE(selector string) bool {
	gre, port := greSelector(selector)
	return gre && (port == "" || port == "any")
}

// greSelector reports whether a traffic selector is for protocol 47, and returns its port.
func greSelector(selector string) (gre bool, port string) {
	_, protocol, _ := strings.Cut(selector, "[")
	protocol, port, _ = strings.Cut(strings.TrimSuffix(protocol, "]"), "/")
	return strings.EqualFold(protocol, "gre") || protocol == "47", port
}

// greOfOneKey reports whether a traffic selector is for GRE with a single key. The kernel reads a
// port of GRE, even 0, as the key.
func greOfOneKey(selector string) bool {
	gre, port := greSelector(selector)
	return gre && port != "" && port != "any"
}

func (k *check) child(s *Section) {
	k.refuse(s, refusedInChild)
	k.known(s, childKeys)
	switch mode, ok := s.key("mode"); {
	case !ok:
		k.problem(s.At, "mode", "missing, which means tunnel: GRE is a tunnel already and needs transport mode; add mode = transport")
	case !strings.EqualFold(mode.Text, "transport"):
		k.problem(mode.At, mode.Name, "found %s: GRE is a tunnel already and needs transport mode; write mode = transport", quote(mode.Text))
	}
	k.selector(s, "local_ts")
	k.selector(s, "remote_ts")
	for _, name := range []string{"start_action", "close_action", "dpd_action"} {
		if key, ok := s.key(name); ok &&
			!contains([]string{"none", "clear"}, strings.ToLower(key.Text)) {
			k.problem(key.At, name, "found %s: the daemon dials when a peer is needed, and charon dialling by itself makes a second SA of it; write %s = none", quote(key.Text), name)
		}
	}
	if key, ok := s.key("policies"); ok && !isTrue(key.Text) {
		k.problem(key.At, key.Name, "found %s: without policies no packet finds its SA; write policies = yes", quote(key.Text))
	}
	if key, ok := s.key("priority"); ok {
		if why := UnusablePriority(key.Text); why != "" {
			k.problem(key.At, key.Name, "found %s: %s", quote(key.Text), why)
		}
	}
	k.proposals(s, "esp_proposals")
	if key, ok := s.key("inactivity"); ok {
		k.warn(key.At, key.Name, "the daemon ends SAs that nobody uses by itself (idle_time), and this leaves their IKE_SA behind; remove the line")
	}
}

// selector checks that a traffic selector follows the addresses of the IKE_SA and is only for GRE.
func (k *check) selector(s *Section, name string) {
	key, ok := s.key(name)
	switch {
	case !ok:
		k.problem(s.At, name, "missing, which means all protocols; add %s = dynamic[gre]", name)
	case len(key.List) == 1 && greOfOneKey(key.List[0]):
		k.problem(key.At, name, "found %s, which is GRE with one key alone: Linux takes a port of GRE, 0 as well, for its key; write %s = dynamic[gre]", quote(key.List[0]), name)
	case len(key.List) != 1 || !isGRE(key.List[0]) || !strings.HasPrefix(key.List[0], "dynamic["):
		k.problem(key.At, name, "found %s: SAs are for GRE alone, between the two addresses of a peer's IKE_SA; write %s = dynamic[gre]", quote(strings.Join(key.List, ", ")), name)
	}
}

// UnusablePriority returns why the policies of a DMVPN's SAs cannot have this priority, or "" if
// they can.
func UnusablePriority(text string) string {
	const least, most = 2, 499999
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || n >= least && n <= most {
		return ""
	}
	if n < least {
		return fmt.Sprintf("SAs of routers behind one NAT address need policies in front of it; write priority = %d or more, or 1000", least)
	}
	return fmt.Sprintf("from %d on the kernel blocks all GRE before it looks for the SA; write priority = 1000", most+1)
}
