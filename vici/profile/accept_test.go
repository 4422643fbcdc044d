package profile

import (
	"testing"

	"cygnet/vici/message"
)

// Whose identity is compared: that of the only round of authentication.
func TestRemoteIdentity(t *testing.T) {
	for _, test := range []struct {
		name string
		conn map[string]any
		want string
	}{
		{"one", map[string]any{"remote": map[string]any{"id": "*.example.net"}}, "*.example.net"},
		{"one by another name", map[string]any{"Remote-1": map[string]any{"id": "*.example.net"}},
			"*.example.net"},
		{"two", map[string]any{"remote": map[string]any{"id": "*.example.net"},
			"remote-2": map[string]any{"auth": "eap"}}, "%any"},
		{"any", map[string]any{"remote": map[string]any{"id": "%any"},
			"remote_addrs": []string{"%any"}}, "%any"},
		{"none", map[string]any{"local": map[string]any{"id": "*.example.net"}}, "%any"},
	} {
		m, err := message.New(test.conn)
		if err != nil {
			t.Fatal(err)
		}
		if got := remoteIdentity(m).String(); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
