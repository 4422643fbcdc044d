package logging

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
)

// sent is one message to the journal.
type sent struct {
	Message  string
	Priority journal.Priority
	Fields   map[string]string
}

// journaling returns a logger to a journal that keeps the messages, and returns err.
func journaling(text *bytes.Buffer, err error) (*slog.Logger, *[]sent) {
	var all []sent
	h := newJournald(slog.NewTextHandler(text, nil))
	h.send = func(message string, p journal.Priority, fields map[string]string) error {
		all = append(all, sent{message, p, fields})
		return err
	}
	return slog.New(h), &all
}

// Each attribute is a field, the level a priority, and an event has the ID of its kind. The message
// has everything that a line of text has.
func TestJournalFields(t *testing.T) {
	var text bytes.Buffer
	log, all := journaling(&text, nil)
	log = log.With("subsystem", "engine")
	log.Warn("peer lost its SA", EventKey, "peer-lost", "interface", "gre1", "nbma", "192.0.2.12",
		"identity", "CN=spoke 2", "reason", "no answer")
	log.Info("connected", "version", "5.9", "next-hop", "x", slog.Group("a", "b", 1))
	log.WithGroup("g").Error("failed", "nbma", "192.0.2.12")
	want := []sent{
		{
			`peer lost its SA: event=peer-lost interface=gre1 nbma=192.0.2.12 identity="CN=spoke 2" reason="no answer"`,
			journal.PriWarning, map[string]string{
				"SYSLOG_IDENTIFIER": "cygnetd", "MESSAGE_ID": MessageID("peer-lost"),
				"CYGNET_SUBSYSTEM": "engine", "CYGNET_EVENT": "peer-lost",
				"CYGNET_INTERFACE": "gre1", "CYGNET_NBMA": "192.0.2.12",
				"CYGNET_IDENTITY": "CN=spoke 2", "CYGNET_PEER": "CN=spoke 2",
				"CYGNET_REASON": "no answer",
			},
		},
		{
			"connected: version=5.9 next-hop=x a.b=1", journal.PriInfo, map[string]string{
				"SYSLOG_IDENTIFIER": "cygnetd", "CYGNET_SUBSYSTEM": "engine",
				"CYGNET_VERSION": "5.9", "CYGNET_NEXT_HOP": "x", "CYGNET_A_B": "1",
			},
		},
		{
			"failed: g.nbma=192.0.2.12", journal.PriErr, map[string]string{
				"SYSLOG_IDENTIFIER": "cygnetd", "CYGNET_SUBSYSTEM": "engine",
				"CYGNET_G_NBMA": "192.0.2.12",
			},
		},
	}
	if diff := cmp.Diff(want, *all); diff != "" {
		t.Errorf("want (-), sent (+):\n%s", diff)
	}
	if text.Len() > 0 {
		t.Errorf("also written as text: %s", &text)
	}
}

// What a peer chooses can neither end a field nor control a terminal, and is not too long.
func TestJournalEscapes(t *testing.T) {
	log, all := journaling(new(bytes.Buffer), nil)
	log.Info("client registered", "identity", "spoke\nPRIORITY=0\n\x1b[2J\xff",
		"reason", strings.Repeat("r", 1<<20))
	got := (*all)[0]
	if id := got.Fields["CYGNET_PEER"]; id != `spoke\nPRIORITY=0\n\x1b[2J\xff` {
		t.Errorf("the peer is %q", id)
	}
	size := len(got.Message)
	for name, value := range got.Fields {
		size += len(name) + len(value)
		if strings.ContainsAny(value, "\n\x1b") {
			t.Errorf("%s is %q", name, value)
		}
	}
	if strings.ContainsAny(got.Message, "\n\x1b") || size > 3*longestField {
		t.Errorf("the message is %q, all together %d bytes", got.Message, size)
	}
}

// What the journal does not take is written as text.
func TestJournalThatIsGone(t *testing.T) {
	var text bytes.Buffer
	log, _ := journaling(&text, errors.New("no journal"))
	log.With("subsystem", "engine").Warn("peer lost its SA", "identity", "spoke1")
	if !strings.Contains(text.String(), `msg="peer lost its SA" subsystem=engine identity=spoke1`) {
		t.Errorf("written: %s", &text)
	}
}

// The catalog explains each ID once, and no others.
func TestCatalog(t *testing.T) {
	catalog, err := os.ReadFile("../../packaging/systemd/cygnet.catalog")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	entry := regexp.MustCompile(`(?m)^-- ([0-9a-f]{32})\nSubject: \S.*\nDefined-By: cygnetd\n`)
	for _, m := range entry.FindAllSubmatch(catalog, -1) {
		found[string(m[1])]++
	}
	for kind, id := range messageIDs {
		if found[id] != 1 {
			t.Errorf("the catalog has the ID of %s %d times, want once", kind, found[id])
		}
		delete(found, id)
	}
	if len(found) > 0 {
		t.Errorf("the catalog has IDs of no event: %v", found)
	}
}
