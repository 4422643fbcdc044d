package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"cygnet/nhrpd/account"
	"cygnet/nhrpd/api"
)

// patience is how long the command waits for what the daemon asks other routers.
const patience = 25 * time.Second

// askLonger is ask for a command that has the daemon ask other routers.
func (in *invocation) askLonger() (*api.Client, context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(in.ctx, patience)
	return api.Dial(in.socket), ctx, cancel
}

// addressOf reads the argument of a command.
func addressOf(command, text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return a, usagef("%s takes an address, such as 10.255.0.12, found %q", command, text)
	}
	return a, nil
}

// resolve asks for a direct path now, and shows what came back.
func resolve(in *invocation, text string) error {
	dest, err := addressOf("resolve", text)
	if err != nil {
		return err
	}
	client, ctx, cancel := in.askLonger()
	defer cancel()
	x, err := client.Resolve(ctx, dest)
	if err != nil {
		return err
	}
	if in.json {
		err = in.printJSON(x)
	} else {
		in.printResolved(x)
	}
	if err == nil && x.Verdict.Path != api.PathDirect {
		return outcome(exitWrong)
	}
	return err
}

// printResolved shows the question and its answer, and the way that packets take now.
func (in *invocation) printResolved(x *api.Explanation) {
	a := account.Of(x)
	in.printf("%s: %s\n", a.Pair, clean(a.Verdict.Text))
	for _, line := range account.Question(x) {
		in.printf("  %s\n", clean(line))
	}
	if next := a.Verdict.Next; next != "" {
		in.printf("%s\n", clean(next))
	}
}

// ping sends NHRP packets to a router through the tunnel, and says what the answers prove.
func ping(in *invocation, text string) error {
	address, err := addressOf("ping", text)
	if err != nil {
		return err
	}
	client, ctx, cancel := in.askLonger()
	defer cancel()
	r, err := client.Ping(ctx, address)
	if err != nil {
		return err
	}
	if in.json {
		err = in.printJSON(r)
	} else {
		in.printPing(r)
	}
	small, _, plain := answers(r)
	if err == nil && !small && !plain {
		return outcome(exitWrong)
	}
	return err
}

// answers reports which kinds of packets were answered: a small probe, one of the tunnel's MTU, and
// a plain question.
func answers(r *api.PingResult) (small, full, plain bool) {
	for i := range r.Trips {
		t := &r.Trips[i]
		switch {
		case !t.Answered():
		case t.Plain:
			plain = true
		case t.Size >= r.MTU:
			full = true
		default:
			small = true
		}
	}
	return small, full, plain
}

func (in *invocation) printPing(r *api.PingResult) {
	who := fmt.Sprintf("%s at %s on %s", r.Protocol, r.NBMA, r.Interface)
	if r.Identity != "" {
		who += ", " + r.Identity
	}
	in.printf("%s\n", clean(who))
	for _, t := range r.Trips {
		kind := "probe"
		if t.Plain {
			kind = "resolution request"
		}
		switch {
		case t.Size == 0:
			in.printf("  %s: NOT SENT: it has no SA\n", kind)
		case t.Answered():
			in.printf("  %s of %d bytes: answered after %s\n", kind, t.Size,
				time.Duration(t.Seconds*float64(time.Second)).Round(10*time.Microsecond))
		default:
			in.printf("  %s of %d bytes: NO ANSWER\n", kind, t.Size)
		}
	}
	in.printf("%s\n", proven(r))
}

// proven says what the answers prove, and what they do not.
func proven(r *api.PingResult) string {
	carried := "GRE and NHRP"
	if r.Protected {
		carried = "IPsec, GRE and NHRP"
	}
	beyond := " They say nothing of the networks behind it."
	switch small, full, plain := answers(r); {
	case small && full:
		return fmt.Sprintf("Proven: %s work both ways, that router accepts data from this one, "+
			"and packets of the tunnel's MTU of %d bytes pass.%s", carried, r.MTU, beyond)
	case small:
		return fmt.Sprintf("Proven: %s work both ways, and that router accepts data from this "+
			"one. NOT PROVEN: that packets of the tunnel's MTU of %d bytes pass; none was "+
			"answered.%s", carried, r.MTU, beyond)
	case plain:
		return fmt.Sprintf("Proven: %s work both ways. NOT PROVEN: that the router accepts data, "+
			"since it answers no probes: it is of another vendor, or drops data from this "+
			"router.%s", carried, beyond)
	}
	return "Nothing is proven: no packet was answered. \"cygnet peers\" shows whether there is " +
		"an SA, and \"cygnet status\" on the other router what it drops."
}

// clearState ends shortcuts, SAs or a binding.
func clearState(in *invocation, words []string) error {
	if len(words) != 2 || clearings[api.Clearable(words[0])] == "" {
		return usagef("clear takes shortcut ADDRESS, peer ADDRESS or binding ADDRESS, found %q",
			words)
	}
	what := api.Clearable(words[0])
	address, err := addressOf("clear "+words[0], words[1])
	if err != nil {
		return err
	}
	client, ctx, cancel := in.ask()
	defer cancel()
	cleared, err := client.Clear(ctx, what, address)
	if err != nil {
		return err
	}
	if in.json {
		return in.printJSON(cleared)
	}
	for i := range cleared {
		in.printf("%s\n", clean(clearedText(&cleared[i])))
	}
	if cleared[0].CoolDown {
		return nil
	}
	in.printf("%s\n", clearings[what])
	return nil
}

// clearings says for each kind of state what its end does and costs.
var clearings = map[api.Clearable]string{
	api.ClearShortcut: "Packets take the way through the hub now. The next one that a hub sends " +
		"from spoke to spoke has this router ask again.",
	api.ClearPeer: "Packets to it are lost until there is a new SA, which is made at once where " +
		"something needs it. Registrations and shortcuts wait 5 s for that.",
	api.ClearBinding: "Its packets are lost until it has registered again, which a router does " +
		"at once through a new SA.",
}

// clearedText says what was ended.
func clearedText(c *api.Cleared) string {
	var words []string
	switch {
	case c.CoolDown:
		return fmt.Sprintf("No shortcut leads to %s. The wait before this router asks for it "+
			"again is over.", c.Prefix.Addr())
	case c.What == api.ClearShortcut:
		words = append(words, fmt.Sprintf("Ended the shortcut to %s", c.Prefix))
		if c.Protocol.IsValid() {
			words = append(words, fmt.Sprintf("by %s at %s", c.Protocol, c.NBMA))
		}
	case c.What == api.ClearPeer:
		words = append(words, "Closed the SA with "+c.NBMA.String())
	default:
		words = append(words, fmt.Sprintf("Ended the binding of %s at %s", c.Protocol, c.NBMA))
	}
	if c.Identity != "" {
		words = append(words, "("+c.Identity+")")
	}
	return strings.Join(append(words, "on "+c.Interface), " ") + "."
}

// registerNow registers at once with the next hop servers, and shows their replies.
func registerNow(in *invocation, words []string) error {
	if len(words) < 1 || len(words) > 2 || words[0] != "now" {
		return usagef("register takes now, or now INTERFACE, found %q", words)
	}
	iface := ""
	if len(words) == 2 {
		iface = words[1]
	}
	client, ctx, cancel := in.askLonger()
	defer cancel()
	servers, err := client.Register(ctx, iface)
	if err != nil {
		return err
	}
	registered := 0
	for i := range servers {
		if servers[i].State == api.NHSRegistered {
			registered++
		}
	}
	if in.json {
		err = in.printJSON(servers)
	} else {
		err = nhsTable(registrations(servers), in.now()).write(&in.out, in.wide)
	}
	if err == nil && registered == 0 {
		return outcome(exitWrong)
	}
	return err
}
