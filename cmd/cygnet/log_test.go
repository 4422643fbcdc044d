package main

import (
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
)

// cygnet log has the daemon set the level, and status shows it.
func TestLogLevel(t *testing.T) {
	d := &daemon{status: spoke()}
	socket := start(t, d)
	code, out, errs := cygnet("log", "debug", "--socket", socket,
		"--peer", "spoke2", "--for", "10m")
	if code != exitOK || out != "The log has the level debug for spoke2, ends in 10m0s.\n" {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
	want := api.LogRequest{Level: "debug", Peer: "spoke2", Seconds: 600}
	if len(d.levels) != 1 || d.levels[0] != want {
		t.Errorf("asked %+v, want %+v", d.levels, want)
	}
	d.status.LogLevels = []api.LogLevel{
		{Level: "debug", Peer: "spoke2", Until: now.Add(5 * time.Minute)}, {Level: "error"},
	}
	_, out, _ = cygnet("status", "--socket", socket)
	if !strings.Contains(out, "\nLOG LEVEL\n  * the level debug for spoke2, ends in 5m0s\n"+
		"  * the level error, until cygnet log default or a restart\n") {
		t.Errorf("status:\n%s", out)
	}
	for _, args := range [][]string{
		{"log"}, {"log", "loud"}, {"log", "default", "--peer", "spoke2"},
		{"log", "debug", "--for", "-1m"},
	} {
		if code, _, _ := cygnet(append(args, "--socket", socket)...); code != exitUsage {
			t.Errorf("%q: code %d", args, code)
		}
	}
}
