package swanctl_test

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cygnet/vici/swanctl"
)

// usable is a connection that can be used unchanged. The tests refer to its line numbers.
const usable = `connections {
	dmvpn {
		version = 2
		remote_addrs = %any
		dpd_delay = 10s
		local {
			auth = psk
			id = hub.example.net
		}
		remote {
			auth = psk
			id = *.example.net
		}
		children {
			gre {
				mode = transport
				local_ts = dynamic[gre]
				remote_ts = dynamic[gre]
			}
		}
	}
}
`

var fixed = swanctl.Tunnel{Local: netip.MustParseAddr("192.0.2.1")}

func template(t *testing.T, text string, tunnel swanctl.Tunnel) (*swanctl.Template, string) {
	t.Helper()
	dir := site(t, text)
	f, err := swanctl.Load(filepath.Join(dir, "swanctl.conf"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Connection("dmvpn")
	if err != nil {
		t.Fatal(err)
	}
	made, problems := c.Template(tunnel)
	if made != nil {
		problems = append(made.Warnings, made.Obstacles...)
	}
	var lines []string
	for _, p := range problems {
		lines = append(lines, strings.Replace(p.Error(), dir+"/swanctl.conf:", "", 1))
	}
	return made, strings.Join(lines, "\n")
}

// The template has what charon receives, with the child separate from the connection.
func TestTemplate(t *testing.T) {
	made, says := template(t, usable, fixed)
	if says != "" {
		t.Fatalf("it says %s", says)
	}
	want := &swanctl.Template{
		Name: "dmvpn",
		Connection: map[string]any{
			"version": "2", "remote_addrs": []string{"%any"}, "dpd_delay": "10s",
			"local":  map[string]any{"auth": "psk", "id": "hub.example.net"},
			"remote": map[string]any{"auth": "psk", "id": "*.example.net"},
		},
		Child: map[string]any{
			"mode": "transport", "local_ts": []string{"dynamic[gre]"},
			"remote_ts": []string{"dynamic[gre]"},
		},
		PSK: true,
	}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// Rounds of authentication keep their order, although a map, and so a VICI message, has none.
func TestRoundsKeepTheirOrder(t *testing.T) {
	text := strings.Replace(usable, "\t\tlocal {\n",
		"\t\tlocal-b {\n auth = pubkey\n}\nlocal-a {\n", 1)
	made, says := template(t, text, fixed)
	if made == nil {
		t.Fatal(says)
	}
	for name, round := range map[string]string{"local-b": "1", "local-a": "2"} {
		if got := made.Connection[name].(map[string]any)["round"]; got != round {
			t.Errorf("%s is round %v", name, got)
		}
	}
}

// What cannot be used is refused with its line and with what to write there. What is probably not
// intended causes a warning.
func TestWhatCannotBeUsed(t *testing.T) {
	for _, c := range []struct{ old, new, says string }{
		{"version = 2", "version = 1", `3: connections.dmvpn.version: found "1": the daemon needs IKEv2; write version = 2`},
		{"version = 2", "version = 0", ""},
		{"%any", "203.0.113.1", `4: connections.dmvpn.remote_addrs: found "203.0.113.1", one fixed peer: the connection has to fit all routers, which the daemon dials at the addresses that it learns; write remote_addrs = %any`},
		{"%any", "hub.example.net", `4: connections.dmvpn.remote_addrs: found "hub.example.net", one fixed peer: the connection has to fit all routers, which the daemon dials at the addresses that it learns; write remote_addrs = %any`},
		{"%any", "192.0.2.0/24, 2001:db8::/32, 10.0.0.1-10.0.0.9", ""},
		{"remote_addrs = %any", "", ""},
		{"version = 2", "mobike = yes", `3: connections.dmvpn.mobike: found "yes", and the tunnel sends from a fixed address: MOBIKE would move SAs to others, where they protect nothing; write mobike = no`},
		{"version = 2", "mobike = no", ""},
		{"version = 2", "local_addrs = 198.51.100.7", `3: connections.dmvpn.local_addrs: found "198.51.100.7", and the tunnel sends from 192.0.2.1 (underlay); write local_addrs = 192.0.2.1, or remove the line`},
		{"version = 2", "local_addrs = 198.51.100.7, 192.0.2.1", ""},
		{"version = 2", "local_addrs = hub.example.net", ""},
		{"version = 2", "local_addrs = %any", ""},
		{"version = 2", "vips = 0.0.0.0", "3: connections.dmvpn.vips: SAs would be for a virtual address that GRE does not send from; remove the line"},
		{"version = 2", "if_id_in = 42", "3: connections.dmvpn.if_id_in: SAs would be for packets of an XFRM interface, and GRE's are not; remove the line"},
		{"version = 2", "remote_adresses = %any", "3: connections.dmvpn.remote_adresses: neither strongSwan 5.9 nor 6.0 knows this key, and charon discards a connection for an unknown one"},
		{"version = 2", "Mobike = no", "3: connections.dmvpn.Mobike: neither strongSwan 5.9 nor 6.0 knows this key, and charon discards a connection for an unknown one; did you mean mobike?"},
		{"version = 2", "reauth_time = 3h", "3: connections.dmvpn.reauth_time: each reauthentication interrupts the traffic with a peer; remove the line, and let rekey_time renew the keys"},
		{"version = 2", "reauth_time = 0s", ""},
		{"dpd_delay = 10s", "dpd_delay = 0s", "5: connections.dmvpn.dpd_delay: that a peer is dead is only noticed when keys change; write dpd_delay = 10s"},
		{"dpd_delay = 10s", "", "2: connections.dmvpn.dpd_delay: missing: that a peer which dialled in is dead is only noticed when keys change; add dpd_delay = 10s"},
		{"auth = psk\n\t\t\tid = hub", "auth = eap-md5\n\t\t\tid = hub", `7: connections.dmvpn.local.auth: found "eap-md5": routers prove their identity by a key or a certificate, and either of two routers may dial; write auth = psk or auth = pubkey`},
		{"auth = psk\n\t\t\tid = *", "auth = xauth-generic\n\t\t\tid = *", `11: connections.dmvpn.remote.auth: found "xauth-generic": routers prove their identity by a key or a certificate, and either of two routers may dial; write auth = psk or auth = pubkey`},
		{"auth = psk\n\t\t\tid = *", "auth = ecdsa-sha256\n\t\t\tid = *", "2: connections.dmvpn: one side proves its identity by a shared key and the other by a certificate: two routers with this connection cannot secure each other"},
		{"id = *.example.net", "id = 192.0.2.0/24", ""},
		{"id = *.example.net", "id = \"O=Example, CN=*\"", ""},
		{"id = *.example.net", "id = spoke*.example.net", `12: connections.dmvpn.remote.id: found "spoke*.example.net", which has a * that is not its first character, which strongSwan takes literally; write one such as *.example.net`},
		{"id = *.example.net", "id = ipv4range:192.0.2.1-192.0.2.9", `12: connections.dmvpn.remote.id: found "ipv4range:192.0.2.1-192.0.2.9", which has a prefix after which strongSwan reads bytes and not text; write "192.0.2.1-192.0.2.9" without it`},
		{"id = *.example.net", "id = hub2.example.net", `12: connections.dmvpn.remote.id: found "hub2.example.net": only that one router can be a peer; write a pattern, such as id = *.example.net`},
		{"\t\tlocal {", "\t\tlokal {", "2: connections.dmvpn.local: missing; add local { auth = psk } or local { auth = pubkey }, with an id"},
		{"mode = transport", "mode = tunnel", `16: connections.dmvpn.children.gre.mode: found "tunnel": GRE is a tunnel already and needs transport mode; write mode = transport`},
		{"mode = transport", "", "15: connections.dmvpn.children.gre.mode: missing, which means tunnel: GRE is a tunnel already and needs transport mode; add mode = transport"},
		{"mode = transport", "mode = Transport", ""},
		{"local_ts = dynamic[gre]", "", "15: connections.dmvpn.children.gre.local_ts: missing, which means all protocols; add local_ts = dynamic[gre]"},
		{"remote_ts = dynamic[gre]", "remote_ts = 0.0.0.0/0[gre]", `18: connections.dmvpn.children.gre.remote_ts: found "0.0.0.0/0[gre]": SAs are for GRE alone, between the two addresses of a peer's IKE_SA; write remote_ts = dynamic[gre]`},
		{"remote_ts = dynamic[gre]", "remote_ts = dynamic[gre], dynamic[icmp]", `18: connections.dmvpn.children.gre.remote_ts: found "dynamic[gre], dynamic[icmp]": SAs are for GRE alone, between the two addresses of a peer's IKE_SA; write remote_ts = dynamic[gre]`},
		{"remote_ts = dynamic[gre]", "remote_ts = dynamic[47]", ""},
		{"remote_ts = dynamic[gre]", "remote_ts = dynamic[47/any]", ""},
		{"remote_ts = dynamic[gre]", "remote_ts = dynamic[47/0]", `18: connections.dmvpn.children.gre.remote_ts: found "dynamic[47/0]", which is GRE with one key alone: Linux takes a port of GRE, 0 as well, for its key; write remote_ts = dynamic[gre]`},
		{"local_ts = dynamic[gre]", "local_ts = dynamic[47/0]", `17: connections.dmvpn.children.gre.local_ts: found "dynamic[47/0]", which is GRE with one key alone: Linux takes a port of GRE, 0 as well, for its key; write local_ts = dynamic[gre]`},
		{"mode = transport", "mode = transport\nstart_action = trap", `17: connections.dmvpn.children.gre.start_action: found "trap": the daemon dials when a peer is needed, and charon dialling by itself makes a second SA of it; write start_action = none`},
		{"mode = transport", "mode = transport\nset_mark_in = 7", "17: connections.dmvpn.children.gre.set_mark_in: the daemon itself sets the marks of packets; remove the line"},
		{"mode = transport", "mode = transport\npolicies = no", `17: connections.dmvpn.children.gre.policies: found "no": without policies no packet finds its SA; write policies = yes`},
		{"mode = transport", "mode = transport\nesp_proposals = aes128gcm16, null-sha256", `17: connections.dmvpn.children.gre.esp_proposals: found "null-sha256", which leaves everything readable; remove it`},
		{"mode = transport", "mode = transport\nesp_proposals = aes256gmac-x25519", `17: connections.dmvpn.children.gre.esp_proposals: found "aes256gmac-x25519", which leaves everything readable; remove it`},
		{"mode = transport", "mode = transport\nesp_proposals = 3des-md5", `17: connections.dmvpn.children.gre.esp_proposals: found "3des-md5", and 3des, md5 can be broken; use others`},
		{"version = 2", "proposals = NULL-sha256-x25519", `3: connections.dmvpn.proposals: found "NULL-sha256-x25519", which leaves everything readable; remove it`},
		{"version = 2", "proposals = default, aes128-sha256-modp1024-ke1_modp768", `3: connections.dmvpn.proposals: found "aes128-sha256-modp1024-ke1_modp768", and modp1024, ke1_modp768 can be broken; use others`},
		{"mode = transport", "mode = transport\npriority = 1", "17: connections.dmvpn.children.gre.priority: found \"1\": SAs of routers behind one NAT address need policies in front of it; write priority = 2 or more, or 1000"},
		{"mode = transport", "mode = transport\npriority = 500000", "17: connections.dmvpn.children.gre.priority: found \"500000\": from 500000 on the kernel blocks all GRE before it looks for the SA; write priority = 1000"},
		{"mode = transport", "mode = transport\ninactivity = 60s", "17: connections.dmvpn.children.gre.inactivity: the daemon ends SAs that nobody uses by itself (idle_time), and this leaves their IKE_SA behind; remove the line"},
		{"\t\tchildren {\n", "\t\tchildren {\n lan {\nlocal_ts = 10.0.0.0/8\n }\n", `15: connections.dmvpn.children.lan: another child than "gre": the daemon opens and closes a peer's IKE_SA when GRE needs it; move this child to a connection of its own`},
		{"children {", "kinder {", "2: connections.dmvpn.children: no child; add children { gre { mode = transport, local_ts = dynamic[gre] and remote_ts = dynamic[gre] } }, a line each"},
	} {
		if !strings.Contains(usable, c.old) {
			t.Fatalf("%q is not in the connection", c.old)
		}
		if _, says := template(t, strings.Replace(usable, c.old, c.new, 1), fixed); says != c.says {
			t.Errorf("%s for %s:\ngot  %s\nwant %s", c.new, c.old, says, c.says)
		}
	}
}

// MOBIKE is allowed on a device whose address the tunnel follows. It is refused with a fixed
// address in the connection.
func TestMOBIKEOnADevice(t *testing.T) {
	moving := strings.Replace(usable, "version = 2", "mobike = yes", 1)
	if made, says := template(t, moving, swanctl.Tunnel{}); made == nil || says != "" {
		t.Errorf("it says %s", says)
	}
	if made, _ := template(
		t, strings.Replace(moving, "mobike", "local_addrs = 192.0.2.1\nmobike", 1),
		swanctl.Tunnel{},
	); made != nil {
		t.Error("with local_addrs it was taken")
	}
}

// Where the underlay has routes of its own, MOBIKE has to be off, also for peers that charon takes
// by the site's connection itself.
func TestMOBIKEBesideATunnelledDefaultRoute(t *testing.T) {
	apart := swanctl.Tunnel{Apart: true}
	for line, want := range map[string]string{
		"mobike = yes": `found "yes", and the underlay has routes of its own`,
		"version = 2":  "dmvpn.mobike: missing, which is yes for peers",
		"mobike = no":  "",
	} {
		made, says := template(t, strings.Replace(usable, "version = 2", line, 1), apart)
		if !strings.Contains(says, want) || want == "" && says != "" {
			t.Errorf("%s: it says %q, want %q", line, says, want)
		}
		if refused := line == "mobike = yes"; (made == nil) != refused {
			t.Errorf("%s: refused: %v", line, made == nil)
		}
	}
}

// All problems are reported at once.
func TestAllProblemsAtOnce(t *testing.T) {
	text := strings.NewReplacer("mode = transport", "mode = tunnel", "%any", "203.0.113.1",
		"auth = psk", "auth = eap").Replace(usable)
	if made, says := template(t, text, fixed); made != nil || strings.Count(says, "\n") != 3 {
		t.Errorf("it says:\n%s", says)
	}
}
