package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/duration"
)

// showEvents writes what happened, a line for each event. With --follow it goes on until it is
// interrupted, also over restarts of the daemon.
func showEvents(in *invocation, _ string) error {
	q := api.EventQuery{Peer: in.peer}
	if err := in.parseSince(&q); err != nil {
		return err
	}
	if !in.follow {
		ctx, cancel := context.WithTimeout(in.ctx, 10*time.Second)
		defer cancel()
		return api.Dial(in.socket).Events(ctx, q, in.writeEvent)
	}
	if in.since == "" {
		q.New = true
	}
	return api.Dial(in.socket).Follow(in.ctx, q, func(e api.Event, _ string) error {
		if err := in.writeEvent(e); err != nil {
			return err
		}
		return in.flush()
	})
}

// parseSince reads --since: the number of an event, or how long ago.
func (in *invocation) parseSince(q *api.EventQuery) error {
	if in.since == "" {
		return nil
	}
	if n, err := strconv.ParseUint(in.since, 10, 64); err == nil {
		q.After = n
		return nil
	}
	d, err := duration.Parse(in.since)
	if err != nil || d <= 0 {
		return usagef("--since takes the number of an event, or a time such as 30m, 1h or 2d; found %q", in.since)
	}
	q.Since = in.now().Add(-d)
	return nil
}

// flush writes to stdout what was written so far.
func (in *invocation) flush() error {
	_, err := in.stdout.Write(in.out.Bytes())
	in.out.Reset()
	if err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// writeEvent writes an event as a line.
func (in *invocation) writeEvent(e api.Event) error {
	if in.json {
		return json.NewEncoder(&in.out).Encode(e)
	}
	in.printf("%s\n", eventLine(&e))
	return nil
}

// eventLine returns an event as a line of text: the number, the time, the interface, what happened
// to what and to whom, and why.
func eventLine(e *api.Event) string {
	if e.Event == api.EventGap {
		return "  -- " + clean(e.Text) + " --"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%6d  %s  ", e.Number, e.Time.Local().Format("2006-01-02 15:04:05.000"))
	if e.Interface != "" {
		b.WriteString(clean(e.Interface) + "  ")
	}
	switch e.Level {
	case api.EventWarning, api.EventError:
		b.WriteString(strings.ToUpper(string(e.Level)) + " ")
	}
	b.WriteString(clean(e.Text))
	if about := eventAbout(e); about != "" {
		b.WriteString(": " + about)
	}
	if e.Reason != "" {
		b.WriteString(": " + clean(e.Reason))
	}
	if e.Took > 0 {
		took := time.Duration(e.Took * float64(time.Second)).Round(time.Millisecond)
		fmt.Fprintf(&b, " (took %v)", took)
	}
	return b.String()
}

// eventAbout says what an event is about, and which router.
func eventAbout(e *api.Event) string {
	var words []string
	switch {
	case e.Protocol.IsValid():
		words = append(words, e.Protocol.String())
	case e.Prefix.IsValid():
		words = append(words, e.Prefix.String())
	}
	if router := routerOf(e); router != "" {
		words = append(words, router)
	}
	return strings.Join(words, ", ")
}

// routerOf names the router that an event is about: by its identity or, without one, its overlay
// address; and the address at which it is reached.
func routerOf(e *api.Event) string {
	name, at := clean(e.Identity), e.NBMA
	if name == "" && e.NextHop.IsValid() {
		name = e.NextHop.String()
	}
	if name == "" {
		name, at = cell(e.NBMA), netip.Addr{}
	}
	if at.IsValid() {
		name += " at " + at.String()
	}
	return name
}

// showHistory writes the peers that fit a filter, and what happened to them.
func showHistory(in *invocation, wanted string) error {
	if wanted == "" {
		return usagef("peers --history takes a peer: its address, or a part of its identity")
	}
	if !in.json {
		if err := listPeers(in, wanted); err != nil {
			return err
		}
		in.printf("\n")
	}
	ctx, cancel := context.WithTimeout(in.ctx, 10*time.Second)
	defer cancel()
	before := in.out.Len()
	err := api.Dial(in.socket).Events(ctx, api.EventQuery{Peer: wanted}, in.writeEvent)
	if err == nil && !in.json && in.out.Len() == before {
		in.printf("No events.\n")
	}
	return err
}

const eventsHelp = `  events [-f] [--peer PEER] [--since NUMBER|TIME]
Lists what happened, oldest first: to peers, SAs, registrations, shortcuts, routes and the daemon, each with its number,
its time and the reason. The daemon keeps the last 8192 events, of each peer the last 128, so that a peer that comes and
goes does not push out what happened to the others. -f (--follow) goes on with what happens from now, or from --since,
also over restarts of the daemon. PEER is an address, a prefix that contains one, or a part of an identity. --since
takes the number of an event, or a time such as 1h. What is not kept any more is said. With --json, each line is an
object. cygnet(1) lists the kinds of events.`
