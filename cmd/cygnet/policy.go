package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"cygnet/nhrpd/config"
	"cygnet/nhrpd/policy"
)

// verdict is what policy test finds out about one interface.
type verdict struct {
	Interface string `json:"interface"`
	Identity  string `json:"identity"`
	Asked     string `json:"asked"`
	Allowed   bool   `json:"allowed"`
	// the rule's pattern; absent: no rule matches, or there are no rules
	Rule      string           `json:"rule,omitempty"`
	Source    string           `json:"source,omitempty"`
	Captures  []policy.Capture `json:"captures"`
	Addresses []netip.Prefix   `json:"addresses"`
	Announce  []netip.Prefix   `json:"announce"`
	Shortcut  bool             `json:"shortcut"`
	Why       []string         `json:"why"`
}

// explainPolicy shows what a configuration permits an identity.
func explainPolicy(in *invocation, words []string) error {
	if len(words) != 3 || words[0] != "test" {
		return usagef("policy takes test IDENTITY ADDRESS or test IDENTITY PREFIX, found %q", words)
	}
	asked, isPrefix, err := askedFor(words[2])
	if err != nil {
		return err
	}
	data, err := os.ReadFile(in.config)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	cfg, err := config.Parse(data, in.config)
	if err != nil {
		return checkFailed(in.config, err)
	}
	verdicts := []verdict{}
	for i := range cfg.Interfaces {
		if c := &cfg.Interfaces[i]; in.iface == "" || in.iface == c.Name {
			verdicts = append(verdicts, evaluate(c, words[1], asked, isPrefix))
		}
	}
	if len(verdicts) == 0 {
		return fmt.Errorf("%s has no interface %s", in.config, in.iface)
	}
	return in.printVerdicts(verdicts)
}

// askedFor reads an address or a prefix. It tells an address from a prefix of the full length: a
// router registers the former for itself, and announces the latter.
func askedFor(text string) (p netip.Prefix, isPrefix bool, err error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), false, nil
	}
	p, err = netip.ParsePrefix(text)
	if err != nil || p != p.Masked() {
		return p, true, usagef("found %q, which is neither an address, such as 10.255.0.17, nor a prefix, such as 172.16.17.0/24", text)
	}
	return p, true, nil
}

// evaluate applies the rules of one interface as the daemon does.
func evaluate(c *config.Interface, identity string, asked netip.Prefix, isPrefix bool) verdict {
	v := verdict{Interface: c.Name, Identity: identity, Asked: asked.String(),
		Captures: []policy.Capture{}, Addresses: []netip.Prefix{},
		Announce: []netip.Prefix{}, Shortcut: true}
	if !isPrefix {
		v.Asked = asked.Addr().String()
	}
	var g policy.Grant
	if ambiguity := policy.Ambiguity(identity, c.NameAttributes()); c.Protected && ambiguity != "" {
		v.because("%s", ambiguity)
		return v
	}
	switch {
	case c.Policy == nil:
		v.because("there are no peer rules: an address belongs to the identity that registers it first, until it expires")
	default:
		g = c.Policy.Of(identity)
		v.Shortcut = g.Shortcut
		if g.Rule == nil {
			v.because("no peer rule matches the identity: it may do nothing")
			return v
		}
		v.Rule, v.Source = g.Rule.Identity.String(), g.Rule.Source
		v.Captures = append(v.Captures, g.Captures...)
		v.Addresses, v.Announce = append(v.Addresses, g.Addresses...),
			append(v.Announce, g.Announce...)
	}
	if isPrefix {
		v.Allowed = v.evaluatePrefix(c, &g, asked)
	} else {
		v.Allowed = v.evaluateAddress(c, &g, asked.Addr())
	}
	return v
}

func (v *verdict) because(format string, args ...any) {
	v.Why = append(v.Why, fmt.Sprintf(format, args...))
}

func (v *verdict) evaluateAddress(c *config.Interface, g *policy.Grant, a netip.Addr) bool {
	switch f := c.FamilyOf(a); {
	case f == config.Family{}:
		v.because("%s is not of the family of the overlay address %s", a, c.Address)
		return false
	case f.Overlay.IsValid() && !f.Overlay.Contains(a):
		v.because("%s is outside the overlay %s", a, f.Overlay)
		return false
	case c.IsOwn(a):
		v.because("%s is this router's own address", a)
		return false
	case c.Policy == nil:
		return true
	case !g.MayHave(a):
		v.because("addresses gives it %s, not %s", policy.Texts(g.Addresses), a)
		return false
	}
	v.because("addresses gives it %s", policy.Texts(g.Addresses))
	if !c.Server {
		v.because("this router takes no registrations (server), so the rule is about answers and shortcuts only")
	}
	return true
}

func (v *verdict) evaluatePrefix(c *config.Interface, g *policy.Grant, p netip.Prefix) bool {
	bounded := g.Rule != nil && g.Rule.Bounded
	switch {
	case !c.Server:
		v.because("this router takes no registrations (server)")
		return false
	case bounded && !g.MayAnnounce(p):
		v.because("announce lets it announce %s, not %s", policy.Texts(g.Announce), p)
		return false
	case bounded:
		v.because("announce lets it announce %s", policy.Texts(g.Announce))
	}
	accepted := false
	for _, a := range c.Accept {
		accepted = accepted || a.Bits() <= p.Bits() && a.Contains(p.Addr())
	}
	switch {
	case accepted:
		v.because("accept takes %s", policy.Texts(c.Accept))
	case len(c.Accept) == 0 && bounded:
		v.because("there is no accept, so the rule decides alone")
		accepted = true
	default:
		v.because("accept takes %s, not %s", policy.Texts(c.Accept), p)
	}
	if overlay := c.FamilyOf(p.Addr()).Overlay; overlay.IsValid() && p.Overlaps(overlay) {
		v.because("it overlaps the overlay %s", overlay)
		return false
	}
	return accepted
}

func (in *invocation) printVerdicts(verdicts []verdict) error {
	allowed := false
	for _, v := range verdicts {
		allowed = allowed || v.Allowed
	}
	if in.json {
		if err := in.printJSON(verdicts); err != nil {
			return err
		}
	} else {
		for _, v := range verdicts {
			in.printVerdict(v)
		}
	}
	if !allowed {
		return outcome(exitWrong)
	}
	return nil
}

func (in *invocation) printVerdict(v verdict) {
	word := "refused"
	if v.Allowed {
		word = "allowed"
	}
	in.printf("%s: %s for %s on %s\n",
		strings.ToUpper(word), clean(v.Asked), clean(v.Identity), clean(v.Interface))
	if v.Rule != "" {
		in.printf("  rule       %s (%s)\n", clean(v.Rule), clean(v.Source))
	}
	for _, c := range v.Captures {
		in.printf("  capture    {%s} is %d\n", clean(c.Name), c.Value)
	}
	for _, w := range v.Why {
		in.printf("  because    %s\n", clean(w))
	}
	if v.Rule != "" && !v.Shortcut {
		in.printf("  shortcut   none: its traffic stays on the hub\n")
	}
}
