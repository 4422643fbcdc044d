package logging

import (
	"testing"

	"cygnet/nhrpd/api"
)

// Every kind of event has an ID in systemd's journal.
func TestEventsHaveMessageIDs(t *testing.T) {
	for _, kind := range api.EventKinds() {
		if MessageID(string(kind)) == "" {
			t.Errorf("the event %s has no ID in systemd's journal", kind)
		}
	}
}
