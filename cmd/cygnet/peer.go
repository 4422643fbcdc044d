package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/duration"
	"cygnet/nhrpd/nearest"
	"cygnet/nhrpd/policy"
	"cygnet/nhrpd/wording"
)

// peer blocks and unblocks identities, and lists the blocked ones.
func peer(in *invocation, words []string) error {
	if len(words) == 1 && words[0] == "blocked" {
		return show(in, view[api.Blocked]{
			get: (*api.Client).Blocked, none: "Nobody is blocked.", tabulate: blockedTable,
		}, "")
	}
	if len(words) != 2 || words[0] != "block" && words[0] != "unblock" {
		return usagef("peer takes block IDENTITY, unblock IDENTITY or blocked, found %q", words)
	}
	client, ctx, cancel := in.ask()
	defer cancel()
	identity := words[1]
	if words[0] == "unblock" {
		if err := client.Unblock(ctx, identity); err != nil {
			return err
		}
		return in.blockDone(api.UnblockRequest{Identity: identity}, "No longer blocked: %s. It gets an SA and is registered when it next tries.\n", identity)
	}
	if in.length < 0 {
		return usagef("--for takes a time above zero, found %s", in.length)
	}
	unknown := unknownIdentity(ctx, client, identity)
	if err := client.Block(ctx, identity, in.length); err != nil {
		return err
	}
	how := "until: cygnet peer unblock " + shellWord(identity)
	if in.length > 0 {
		how = "for " + duration.Format(in.length)
	}
	return in.blockDone(api.BlockRequest{Identity: identity, Seconds: in.length.Seconds()},
		"Blocked: %s, %s\n%s", identity, how, unknown)
}

// unknownIdentity returns a warning that no router has the identity here now, with the identity
// that may have been meant. It returns "" if a router has it.
func unknownIdentity(ctx context.Context, client *api.Client, identity string) string {
	status, err := client.Status(ctx)
	if err != nil {
		return ""
	}
	var known []string
	for _, p := range status.Peers() {
		known = append(append(known, p.Identity), p.SharedWith...)
	}
	for _, b := range status.Bindings() {
		known = append(known, b.Identity)
	}
	for _, k := range known {
		if k != "" && policy.Canonical(k) == policy.Canonical(identity) {
			return ""
		}
	}
	text := "No router has this identity here now"
	if near := nearest.Word(identity, known); near != "" {
		text += "; did you mean " + shellWord(near) + "?"
	}
	return text
}

// shellWord quotes a string so that a shell reads it as one word.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("_@%+=:,./-", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// blockDone shows what was done, in JSON or as text.
func (in *invocation) blockDone(request any, format string, words ...string) error {
	if in.json {
		return in.printJSON(request)
	}
	args := make([]any, len(words))
	for i, w := range words {
		args[i] = clean(w)
	}
	fmt.Fprintf(&in.out, "%s\n", strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
	return nil
}

func blockedTable(blocked []api.Blocked, now time.Time) *table {
	t := newTable("IDENTITY", "SINCE", "UNTIL")
	for _, b := range blocked {
		until := wording.When(b.Until, now)
		if b.Until.IsZero() {
			until = "taken back"
		}
		t.row(b.Identity, wording.When(b.Since, now), until)
	}
	return t
}

// blockedLines lists the identities that are shut out. If there are many, it lists some and the
// number of the others.
func blockedLines(all []api.Blocked) []string {
	var lines []string
	for _, b := range all[:min(len(all), maxProblems)] {
		lines = append(lines, blockTrouble(b))
	}
	if more := len(all) - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

// blockTrouble describes one identity that is shut out.
func blockTrouble(b api.Blocked) string {
	if b.Until.IsZero() {
		return fmt.Sprintf("%s is blocked by an administrator", b.Identity)
	}
	return fmt.Sprintf("%s is blocked by an administrator until %s", b.Identity,
		b.Until.Local().Format(time.DateTime))
}
