package api

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Show asks what only shows, and nothing that could change something or send packets.
func TestShow(t *testing.T) {
	daemon := &fake{pairs: []Pair{{
		Interface: "gre1", Source: netip.MustParseAddr("10.255.0.11"),
		Destination: netip.MustParseAddr("172.16.2.10"),
	}}}
	client := serve(t, daemon)
	response, err := client.Show(t.Context(), "/v1/pairs", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var got []Pair
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(daemon.pairs, got, comparable); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	for at, e := range endpoints {
		if want := e.allowed() == http.MethodGet; Shows(at) != want {
			t.Errorf("%s takes %s, and Shows says %v", at, e.allowed(), !want)
		}
	}
	for _, at := range []string{"/v1/leave", "/v1/block", "/v1/resolve", "/v2/status", ""} {
		if _, err := client.Show(t.Context(), at, nil); err == nil {
			t.Errorf("it asked %q", at)
		}
	}
	if left := slices.Concat(daemon.left, daemon.blocked, daemon.drained); len(left) > 0 {
		t.Errorf("the daemon did %q", left)
	}
}
