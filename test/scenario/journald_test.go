//go:build lab

package scenario

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// Where systemd's journal takes the daemon's output, journalctl finds messages by peer, event and
// priority, and knows what they mean. The guest has a real systemd-journald but no systemd, so that
// the journal does not know units here.
func TestJournald(t *testing.T) {
	m := lab.NewMesh(t)
	hub := m.Hub
	journald := hub.Node.Start("journald", nil, "/lib/systemd/systemd-journald")
	m.Await("systemd-journald listens and writes", soon, func() error {
		_, err := os.Stat(hub.Path("/run/systemd/journal/stdout"))
		files, _ := filepath.Glob(hub.Path("/run/log/journal/*/system.journal"))
		return lab.True(err == nil && len(files) > 0, "%v, %q: %s", err, files, journald.Output())
	})
	hub.Start()
	m.Spoke1.Start()
	registered(m, m.Spoke1, soon)
	hub.Daemon.Terminate()
	// As systemd does it: the standard error output is a stream to the journal, and the environment
	// has that stream's device and inode.
	hub.Daemon.Via = []string{"systemd-cat", "-t", "cygnetd", "sh", "-c",
		`JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$@"`, "sh"}
	hub.Daemon.Start()
	m.Spoke2.Start()
	registered(m, m.Spoke2, later)
	sas := hub.Charon.With(m.Spoke2.Public)
	hub.Run("swanctl", "--terminate", "--ike-id", sas[len(sas)-1].ID)
	lost := happened(m, hub, m.Spoke2, api.EventPeerLost)

	m.Await("the journal has the loss as a message of its own", soon, func() error {
		entries, err := journalEntries(hub, "-p", "warning", "CYGNET_PEER="+lost.Identity)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e["CYGNET_EVENT"] == "peer-lost" {
				text := fmt.Sprint(e["MESSAGE"])
				return lab.True(e["CYGNET_INTERFACE"] == "gre1" && e["PRIORITY"] == "4" &&
					e["CYGNET_REASON"] == lost.Reason && e["_TRANSPORT"] == "journal" &&
					e["CYGNET_NBMA"] == m.Spoke2.Public.String() && e["MESSAGE_ID"] != nil &&
					strings.HasPrefix(text, "peer lost its SA: "), "it has %v", e)
			}
		}
		return fmt.Errorf("there are %d entries, and none is the loss: %v", len(entries), entries)
	})
	entries, err := journalEntries(hub, "CYGNET_PEER="+lost.Identity, "CYGNET_EVENT=client-registered")
	if err != nil || len(entries) == 0 || entries[0]["PRIORITY"] != "6" {
		t.Errorf("the registration of spoke2 in the journal: %v, %v", entries, err)
	}
	encrypted(m)
}

// journalEntries returns the entries of a router's journal that journalctl finds.
func journalEntries(s *lab.Site, args ...string) ([]map[string]any, error) {
	out, err := s.Try("journalctl", append(
		[]string{"--file", "/run/log/journal/*/*.journal", "-o", "json", "-q"}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	var entries []map[string]any
	for line := range strings.Lines(out) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("%q is no entry: %w", line, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}
