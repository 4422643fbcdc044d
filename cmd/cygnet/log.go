package main

import (
	"fmt"
	"slices"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// setLog sets the level of the daemon's log while it runs.
func setLog(in *invocation, level string) error {
	levels := []string{"debug", "info", "warn", "error", api.LogDefault}
	switch {
	case !slices.Contains(levels, level):
		return usagef("log takes debug, info, warn, error or default, found %q", level)
	case in.length < 0:
		return usagef("--for takes a time above zero")
	case level == api.LogDefault && (in.peer != "" || in.length > 0):
		return usagef("log default ends all levels that were set, and takes no --peer or --for")
	}
	client, ctx, cancel := in.ask()
	defer cancel()
	request := api.LogRequest{Level: level, Peer: in.peer, Seconds: in.length.Seconds()}
	if err := client.SetLog(ctx, request); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if in.json {
		return in.printJSON(request)
	}
	if level == api.LogDefault {
		in.printf("The log has the levels of the configuration again.\n")
		return nil
	}
	in.printf("The log has %s.\n", logLevel(api.LogLevel{
		Level: level, Peer: in.peer, Until: until(in.now(), in.length),
	}, in.now()))
	return nil
}

// until returns when a time is over; zero if it never is.
func until(now time.Time, length time.Duration) time.Time {
	if length == 0 {
		return time.Time{}
	}
	return now.Add(length)
}

// logLevel says what the log has that the configuration does not.
func logLevel(l api.LogLevel, now time.Time) string {
	text := "the level " + l.Level
	if l.Peer != "" {
		text += " for " + clean(l.Peer)
	}
	if l.Until.IsZero() {
		return text + ", until cygnet log default or a restart"
	}
	return text + ", ends " + wording.When(l.Until, now)
}

// logLevels says the same for several.
func logLevels(levels []api.LogLevel, now time.Time) (lines []string) {
	for _, l := range levels {
		lines = append(lines, logLevel(l, now))
	}
	return lines
}

const logHelp = `  log LEVEL [--peer PEER] [--for TIME]
Sets the level of the daemon's log at once: debug, info, warn or error, for all subsystems or with --peer for what
concerns one peer. PEER is an address, a prefix that contains one, or a part of an identity. The level ends after --for,
with a restart, or with
  log default
which has the levels of the configuration count again. A reload does not end it. Status shows it (LOG LEVEL).`
