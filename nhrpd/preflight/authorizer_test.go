package preflight

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cygnet/nhrpd/config"
)

// The check warns of an authorizer's socket that does not exist, at which nobody listens, that is
// no stream socket, or that another user than root made.
func TestAuthorizerSocket(t *testing.T) {
	dir := t.TempDir()
	listen := func(network, name string) string {
		path := filepath.Join(dir, name)
		switch network {
		case "unix":
			l, err := net.Listen(network, path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
		default:
			l, err := net.ListenUnixgram(network, &net.UnixAddr{Name: path, Net: network})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
		}
		return path
	}
	dead := filepath.Join(dir, "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	stranger := func(string) (uint32, error) { return uint32(os.Geteuid()) + 4711, nil }
	for name, tt := range map[string]struct {
		socket string
		find   func(string) (uint32, error)
		want   string // part of the finding; empty: there is none
	}{
		"none configured": {"", listener, ""},
		"good":            {listen("unix", "good"), listener, ""},
		"missing":         {filepath.Join(dir, "missing"), listener, "there is no such socket"},
		"dead":            {dead, listener, "nobody listens there"},
		"datagrams":       {listen("unixgram", "datagrams"), listener, "make it a stream socket"},
		"stranger":        {dead, stranger, "only from root"},
		"not looked at":   {dead, nil, ""},
	} {
		c := &config.Config{Interfaces: []config.Interface{
			{Name: "gre1", Authorize: config.Authorize{Socket: tt.socket}}}}
		found := Host{Listener: tt.find}.authorizers(c)
		if tt.want == "" {
			if len(found) > 0 {
				t.Errorf("%s: found %v", name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Severity != Warning || found[0].Interface != "gre1" {
			t.Fatalf("%s: found %v, want one warning about gre1", name, found)
		}
		if text := found[0].Text; !strings.Contains(text, tt.want) ||
			!strings.Contains(text, tt.socket) {
			t.Errorf("%s: found %v, want %q", name, found, tt.want)
		}
	}
}
