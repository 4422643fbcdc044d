package swanctl_test

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"cygnet/vici/swanctl"
)

// roadWarriors is a connection that charon chooses for every peer with a shared key.
const roadWarriors = `connections {
	rw {
		version = 2
		local_addrs = 192.0.2.1
		remote_addrs = %any
		local { auth = psk }
		remote {
			auth = psk
			id = %any
		}
		children { net { local_ts = 0.0.0.0/0 } }
	}
}
`

func TestRivals(t *testing.T) {
	own := swanctl.Own{Locals: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, PSK: true}
	with := func(change func(*swanctl.Own)) swanctl.Own {
		o := own
		change(&o)
		return o
	}
	for name, c := range map[string]struct {
		own      swanctl.Own
		old, new string
		want     string // the required identity; "-": there is no rival
	}{
		"for everybody":             {own, "", "", ""},
		"without addresses of ends": {own, "\t\tremote_addrs = %any\n", "", ""},
		"without an identity":       {own, "id = %any", "", ""},
		"for a pattern":             {own, "id = %any", "id = *.example.net", "*.example.net"},
		"at any address, a pattern": {own, "local_addrs = 192.0.2.1\n\t\tremote_addrs = %any\n\t\tlocal { auth = psk }\n\t\tremote {\n\t\t\tauth = psk\n\t\t\tid = %any", "local { auth = psk }\n\t\tremote {\n\t\t\tauth = psk\n\t\t\tid = *.example.net", "*.example.net"},
		"for one router":            {own, "id = %any", "id = spoke1.example.net", "-"},
		"for one address":           {own, "remote_addrs = %any", "remote_addrs = 192.0.2.11", "-"},
		"at any address":            {own, "\t\tlocal_addrs = 192.0.2.1\n", "", "-"},
		"at another address": {own, "local_addrs = 192.0.2.1", "local_addrs = 192.0.2.200",
			"-"},
		"of IKEv1":         {own, "version = 2", "version = 1", "-"},
		"of both versions": {own, "\t\tversion = 2\n", "", "-"},
		"by certificate":   {own, "auth = psk\n\t\t\tid", "auth = pubkey\n\t\t\tid", "-"},
		"by EAP": {own, "auth = psk\n\t\t\tid", "auth = eap-mschapv2\n\t\t\tid",
			"-"},
		"ours asks for an identity": {with(
			func(o *swanctl.Own) { o.RemoteIdentity = "*.example.net" }), "", "", "-"},
		"ours is by certificate": {with(func(o *swanctl.Own) { o.PSK = false }), "", "", "-"},
		"ours is made like it":   {with(func(o *swanctl.Own) { o.Name = "rw" }), "", "", "-"},
		"both by certificate": {with(func(o *swanctl.Own) { o.PSK = false }), "psk", "pubkey",
			""},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			if !strings.Contains(roadWarriors, c.old) {
				t.Fatalf("the file has no %q", c.old)
			}
			f, err := swanctl.Load(filepath.Join(site(t,
				strings.ReplaceAll(roadWarriors, c.old, c.new)), "swanctl.conf"))
			if c.old == "" {
				f, err = swanctl.Load(filepath.Join(site(t, roadWarriors), "swanctl.conf"))
			}
			if err != nil {
				t.Fatal(err)
			}
			got := f.Rivals(c.own)
			switch {
			case c.want == "-" && len(got) > 0:
				t.Errorf("rivals %+v, want none", got)
			case c.want != "-" &&
				(len(got) != 1 || got[0].Name != "rw" || got[0].Identity != c.want ||
					got[0].At.Line != 2):
				t.Errorf("rivals %+v, want rw at line 2 for the identity %q", got, c.want)
			}
		})
	}
}
