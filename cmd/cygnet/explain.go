package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"cygnet/nhrpd/account"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/explain"
	"cygnet/nhrpd/netcheck/collect"
)

// evidence is where explain, report and netcheck look besides the daemon.
type evidence struct {
	kernel explain.Kernel
	charon func(socket string) explain.Charon
	// program is what report runs programs with
	program program
	// paths is where netcheck looks
	paths collect.Host
}

// thisHost returns the evidence of this machine.
func thisHost() evidence {
	return evidence{explain.Linux(), explain.CharonAt, execute, collect.This()}
}

// explainWay shows why packets to an address go the way they go.
func explainWay(in *invocation, words []string) error {
	dest, source, err := pairOf(words)
	if err != nil {
		return err
	}
	client, ctx, cancel := in.ask()
	defer cancel()
	x, err := client.Explain(ctx, dest, source)
	gone := errors.Is(err, api.ErrNotRunning)
	if gone {
		x, err = in.explainAlone(ctx, dest, source)
	}
	if err != nil {
		return fmt.Errorf("explain %s: %w", dest, err)
	}
	if in.json {
		return in.printJSON(x)
	}
	in.printExplanation(x)
	return nil
}

// explainAlone gives the account without the daemon. The configuration names charon's socket, if it
// can be read.
func (in *invocation) explainAlone(
	ctx context.Context, dest, source netip.Addr,
) (*api.Explanation, error) {
	socket := config.DefaultVICISocket()
	if c, _ := config.LoadFaulty(in.config); c != nil {
		socket = c.Daemon.VICISocket
	}
	return explain.Alone(
		ctx,
		in.evidence.kernel,
		in.evidence.charon(socket),
		in.now(),
		dest,
		source,
	)
}

// pairOf reads DESTINATION [from SOURCE].
func pairOf(words []string) (dest, source netip.Addr, err error) {
	if len(words) != 1 && (len(words) != 3 || words[1] != "from") {
		return dest, source, usagef(
			"explain takes DESTINATION or DESTINATION from SOURCE, found %q",
			words,
		)
	}
	for n, into := range []*netip.Addr{&dest, &source} {
		if 2*n >= len(words) {
			break
		}
		if *into, err = netip.ParseAddr(words[2*n]); err != nil || into.Zone() != "" {
			return dest, source, usagef("found %q, which is not an address, such as 172.16.2.10",
				words[2*n])
		}
	}
	if source.IsValid() && source.Is4() != dest.Is4() {
		return dest, source, usagef("%s and %s are not of the same family", dest, source)
	}
	return dest, source, nil
}

// printExplanation shows an account: the verdict, the steps, and what can be done.
func (in *invocation) printExplanation(x *api.Explanation) {
	a := account.Of(x)
	in.printf("%s: %s\n\n", a.Pair, clean(a.Verdict.Text))
	for n, step := range a.Steps {
		mark := fmt.Sprintf("%2d %-*s", n+1, titleWidth, clean(step.Title))
		for _, line := range step.Lines {
			in.printf("%s%s\n", mark, clean(line))
			mark = strings.Repeat(" ", len("nn ")+titleWidth)
		}
	}
	if next := a.Verdict.Next; next != "" {
		in.printf("\n%s\n", clean(next))
	}
}

// titleWidth is the width of a step's title, with the space behind it.
const titleWidth = 11
