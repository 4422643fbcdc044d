package main

import (
	"fmt"
	"time"

	"cygnet/nhrpd/api"
)

// peer blocks and unblocks identities, and lists those that are blocked.
func peer(in *invocation, words []string) error {
	if len(words) == 1 && words[0] == "blocked" {
		return show(in, (*api.Client).Blocked, "Nobody is blocked.", blockedTable)
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
		return in.blockDone(api.UnblockRequest{Identity: identity}, "Not blocked any more: %s. It gets an SA and a registration with its next try.\n", identity)
	}
	if in.length < 0 {
		return usagef("--for takes a time ahead, found %s", in.length)
	}
	if err := client.Block(ctx, identity, in.length); err != nil {
		return err
	}
	how := "until: cygnet peer unblock " + identity
	if in.length > 0 {
		how = "for " + in.length.String()
	}
	return in.blockDone(api.BlockRequest{Identity: identity, Seconds: in.length.Seconds()}, "Blocked: %s, %s\n", identity, how)
}

// blockDone says what was done, in JSON or in words.
func (in *invocation) blockDone(request any, format string, words ...string) error {
	if in.json {
		return in.printJSON(request)
	}
	args := make([]any, len(words))
	for i, w := range words {
		args[i] = clean(w)
	}
	in.printf(format, args...)
	return nil
}

func blockedTable(blocked []api.Blocked, now time.Time) *table {
	t := newTable("IDENTITY", "SINCE", "UNTIL")
	for _, b := range blocked {
		until := when(b.Until, now)
		if b.Until.IsZero() {
			until = "taken back"
		}
		t.row(b.Identity, when(b.Since, now), until)
	}
	return t
}

// blockedLines tells who is shut out, some of them where there are many.
func blockedLines(all []api.Blocked) []string {
	var lines []string
	for _, b := range all[:min(len(all), mostProblems)] {
		lines = append(lines, blockTrouble(b))
	}
	if more := len(all) - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

// blockTrouble tells who is shut out.
func blockTrouble(b api.Blocked) string {
	if b.Until.IsZero() {
		return fmt.Sprintf("%s is blocked by an administrator", b.Identity)
	}
	return fmt.Sprintf("%s is blocked by an administrator until %s", b.Identity, b.Until.Local().Format(time.DateTime))
}
