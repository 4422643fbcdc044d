package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// faults pairs a fault with the message that it must cause. The text replaces the line of a working
// spoke that begins with the same key, or is added at the end of the interface's table.
var faults = []struct {
	rule string
	text string // lines to add; a line whose key the spoke has already replaces that line
	want []string
}{
	{"an unknown key names its near miss", `holdingtime = "10m"`,
		[]string{`interface.gre1.holdingtime: unknown key; did you mean "holding_time"?`}},
	{"an unknown key that is near nothing lists what is allowed", "[interface.gre1.limits]\nfrobnication = 1",
		[]string{`interface.gre1.limits.frobnication: unknown key; allowed here: answers, bindings, errors, held, indications, prefixes, requests, sas, shortcuts, transit`}},
	{"a key in the wrong table names the right one", `dpd_delay = "10s"`,
		[]string{`interface.gre1.dpd_delay: unknown key; it belongs in [interface.gre1.ipsec]`}},
	{"an unknown table", "[deamon]",
		[]string{`deamon: unknown key; did you mean "daemon"?`}},
	{"a wrong type says what was found", `key = "42"`,
		[]string{`interface.gre1.key: found "42", allowed is an integer`}},
	{"a bare number is no duration", `holding_time = 600`,
		[]string{`interface.gre1.holding_time: found 600, allowed is a duration as a string with its unit, such as "10m" or "600s"; did you mean "600s"?`}},
	{"nor is one in a string", `idle_time = "600"`,
		[]string{`interface.gre1.idle_time: found "600", allowed is a duration as a string with its unit, such as "10m" or "600s"; did you mean "600s"?`}},
	{"the type of a password is told without it", `authentication = 12345678`,
		[]string{`interface.gre1.authentication: found an integer, allowed is a string`}},
	{"a list of strings is not a string", "[interface.gre1.ipsec]\nproposals = \"aes128-sha256\"",
		[]string{`interface.gre1.ipsec.proposals: found "aes128-sha256", allowed is a list of strings, such as ["…"]`}},
	{"a table is not a list of tables", `nhs = { nbma = "hub" }`,
		[]string{`interface.gre1.nhs: found a table, allowed is a list of tables: nhs = [{ … }]`}},
	{"an element has its index", `nhs = [{ nbma = "hub" }, "hub2"]`,
		[]string{`interface.gre1.nhs[1]: found "hub2", allowed is a table: { … }`}},
	{"a key of an element, too", `nhs = [{ nmba = "hub" }]`,
		[]string{`interface.gre1.nhs[0].nmba: unknown key; did you mean "nbma"?`,
			`interface.gre1.nhs[0].nbma: missing; give the server's address or host name: { nbma = "hub.example.net" }`}},

	{"the overlay address is needed", `address =`,
		[]string{`interface.gre1.address: missing; give the overlay address with its prefix length: address = "10.255.0.11/24"`}},
	{"with its prefix length", `address = "10.255.0.11"`,
		[]string{`interface.gre1.address: found "10.255.0.11", allowed is an address with a prefix length, such as "10.255.0.11/24"`}},
	{"not the network's", `address = "10.255.0.0/24"`,
		[]string{`interface.gre1.address: found "10.255.0.0/24", the address of the network itself; allowed is a host's, such as "10.255.0.1/24"`}},
	{"not the broadcast address", `address = "10.255.3.255/22"`,
		[]string{`interface.gre1.address: found "10.255.3.255/22", the broadcast address of its network; allowed is a host's, such as "10.255.3.254/22"`}},
	{"not the whole world", `address = "10.255.0.1/0"`,
		[]string{`interface.gre1.address: found "10.255.0.1/0", allowed is a prefix length of 1 and above: the overlay is not the whole world`}},
	{"not multicast", `address = "224.0.0.1/24"`,
		[]string{`interface.gre1.address: found "224.0.0.1/24", a multicast or broadcast address; allowed is a unicast address`}},
	{"not link-local", `address = "fe80::1/64"`,
		[]string{`interface.gre1.address: found "fe80::1/64", a link-local address; allowed is a unicast address`}},

	{"the overlay's range contains the address", `overlay = "10.254.0.0/16"`,
		[]string{`interface.gre1.overlay: found 10.254.0.0/16, allowed is a prefix that contains address, 10.255.0.11/24`}},
	{"and all of its prefix", `overlay = "10.255.0.0/25"`,
		[]string{`interface.gre1.overlay: found 10.255.0.0/25, allowed is a prefix that contains address, 10.255.0.11/24`}},
	{"it is a prefix", `overlay = "10.255.0.11/24"`,
		[]string{`interface.gre1.overlay: found "10.255.0.11/24", which has host bits; did you mean "10.255.0.0/24"?`}},
	{"not an address", `overlay = "10.255.0.0"`,
		[]string{`interface.gre1.overlay: found "10.255.0.0", allowed is a prefix, such as "10.255.0.0/24"`}},
	{"of the address's family", `overlay = "fd00::/64"`,
		[]string{`interface.gre1.overlay: found fd00::/64, allowed is a prefix of the family of address, 10.255.0.11/24`}},
	{"not the whole world either", `overlay = "0.0.0.0/0"`,
		[]string{`interface.gre1.overlay: found 0.0.0.0/0, allowed is a prefix length of 1 and above: the overlay is not the whole world`}},
	{"what is known of the overlay bounds others with a host prefix, too", "address = \"10.255.0.11/32\"\noverlay = \"10.255.0.0/24\"\nnhs = [{ nbma = \"10.255.0.1\", protocol = \"10.254.0.1\" }]\nannounce = [\"10.255.0.64/26\"]",
		[]string{`interface.gre1.nhs[0].protocol: found 10.254.0.1, allowed is an address in the overlay 10.255.0.0/24`,
			`interface.gre1.nhs[0].nbma: found 10.255.0.1, which is in the overlay 10.255.0.0/24; allowed is an address outside the tunnel`,
			`interface.gre1.announce[0]: found 10.255.0.64/26, which overlaps with the overlay 10.255.0.0/24; allowed are networks outside the tunnel`}},

	{"the underlay is needed", `underlay =`,
		[]string{`interface.gre1.underlay: missing; give the device or the local address that the tunnel sends from: underlay = "eth0"`}},
	{"a mistyped address is no device", `underlay = "198.51.100.300"`,
		[]string{`interface.gre1.underlay: found "198.51.100.300", allowed is a device such as "eth0" or an address such as "198.51.100.1", without a prefix length`}},
	{"nor is a prefix", `underlay = "198.51.100.1/24"`,
		[]string{`interface.gre1.underlay: found "198.51.100.1/24", allowed is a device such as "eth0" or an address such as "198.51.100.1", without a prefix length`}},
	{"the tunnel is not its own underlay", `underlay = "gre1"`,
		[]string{`interface.gre1.underlay: found "gre1", the tunnel itself; allowed is the device that leads to the other routers`}},
	{"nor is an address in the overlay", `underlay = "10.255.0.200"`,
		[]string{`interface.gre1.underlay: found 10.255.0.200, which is in the overlay 10.255.0.0/24; allowed is an address outside the tunnel`}},

	{"numbers have ranges", "key = 4294967296\nttl = 0\nmtu = 100\ntable = 0\nmetric = -1",
		[]string{`interface.gre1.key: found 4294967296, allowed is 0 to 4294967295`,
			`interface.gre1.ttl: found 0, allowed is 1 to 255`,
			`interface.gre1.mtu: found 100, allowed is 576 to 65000`,
			`interface.gre1.table: found 0, allowed is 1 to 4294967295`,
			`interface.gre1.metric: found -1, allowed is 0 to 4294967295`}},
	{"IPv6 needs 1280", "address = \"2001:db8::1/64\"\nmtu = 1279",
		[]string{`interface.gre1.mtu: found 1279, allowed is 1280 to 65000`}},
	{"the local table is the kernel's", `table = 255`,
		[]string{`interface.gre1.table: found 255, the kernel's own table of local addresses; allowed is any other, such as 254, the main table`}},
	{"the holding time is a 16-bit number of seconds", `holding_time = "65536s"`,
		[]string{`interface.gre1.holding_time: found 18h12m16s, allowed is 10s to 18h12m15s`}},
	{"of whole seconds", `holding_time = "10.5s"`,
		[]string{`interface.gre1.holding_time: found 10.5s, allowed are whole seconds`}},
	{"the idle time has a least", `idle_time = "1ms"`,
		[]string{`interface.gre1.idle_time: found 1ms, allowed is 1s to 24h`}},
	{"limits have ranges", "[interface.gre1.limits]\nheld = 0",
		[]string{`interface.gre1.limits.held: found 0, allowed is 1 to 1000000`}},
	{"an identity may have the SAs of two ends that dial and rekey", "[interface.gre1.limits]\nsas = 3",
		[]string{`interface.gre1.limits.sas: found 3, allowed is 4 to 1000000`}},
	{"an empty password is none", `authentication = ""`,
		[]string{`interface.gre1.authentication: found an empty password; leave the key out for none`}},
	{"a password fits into the packets", `authentication = "` + strings.Repeat("x", 65) + `"`,
		[]string{`interface.gre1.authentication: found a password of 65 bytes, allowed are 64`}},
	{"one password", "authentication = \"a\"\nauthentication_file = \"/etc/x\"",
		[]string{`interface.gre1.authentication_file: found together with authentication, allowed is one of the two`}},
	{"a path is absolute", `authentication_file = "x"`,
		[]string{`interface.gre1.authentication_file: allowed is the absolute path, without . and .. in it, of a file that holds the secret`}},

	{"an NHS is not this router", "underlay = \"198.51.100.1\"\nnhs = [{ nbma = \"198.51.100.1\", protocol = \"10.255.0.11\" }]",
		[]string{`interface.gre1.nhs[0].protocol: found 10.255.0.11, this router's own overlay address; allowed is the server's`,
			`interface.gre1.nhs[0].nbma: found 198.51.100.1, this router's own underlay address; allowed is the server's`}},
	{"an NHS is a host", `nhs = [{ nbma = "hub_1.example..net" }]`,
		[]string{`interface.gre1.nhs[0].nbma: found "hub_1.example..net", allowed is an address or a host name: labels of at most 63 letters, digits and inner hyphens, with dots between`}},
	{"not a mistyped address", `nhs = [{ nbma = "198.51.100.1:500" }]`,
		[]string{`interface.gre1.nhs[0].nbma: found "198.51.100.1:500", which is not an address; allowed is an address without prefix length or port, or a host name`}},
	{"each NHS once", `nhs = [{ nbma = "hub" }, { nbma = "HUB" }]`,
		[]string{`interface.gre1.nhs[1].nbma: found "hub" again, after interface.gre1.nhs[0].nbma; allowed is each server once`}},
	{"an NHS is in the overlay", `nhs = [{ nbma = "hub", protocol = "10.254.0.1" }]`,
		[]string{`interface.gre1.nhs[0].protocol: found 10.254.0.1, allowed is an address in the overlay 10.255.0.0/24`}},
	{"and of its family", `nhs = [{ nbma = "hub", protocol = "2001:db8::1" }]`,
		[]string{`interface.gre1.nhs[0].protocol: found 2001:db8::1, allowed is an address of the overlay's family, which is that of 10.255.0.11/24`}},
	{"NBMA addresses are IPv4", "underlay = \"2001:db8::11\"\nnhs = [{ nbma = \"2001:db8::1\" }]\nmap = [{ protocol = \"10.255.0.3\", nbma = \"2001:db8::3\" }]",
		[]string{`interface.gre1.underlay: found 2001:db8::11, ` + noIPv6,
			`interface.gre1.nhs[0].nbma: found 2001:db8::1, ` + noIPv6,
			`interface.gre1.map[0].nbma: found 2001:db8::3, ` + noIPv6}},
	{"a map needs both", `map = [{ nbma = "198.51.100.1" }]`,
		[]string{`interface.gre1.map[0].protocol: missing; a map needs both: { protocol = "10.255.0.12", nbma = "203.0.113.12" }`}},
	{"a map names others", `map = [{ protocol = "10.255.0.11", nbma = "198.51.100.1" }]`,
		[]string{`interface.gre1.map[0].protocol: found 10.255.0.11, this router's own overlay address; allowed is a peer's`}},
	{"each overlay address is mapped once", "map = [{ protocol = \"10.255.0.3\", nbma = \"198.51.100.1\" }, { protocol = \"10.255.0.3\", nbma = \"198.51.100.2\" }]",
		[]string{`interface.gre1.map[1].protocol: found 10.255.0.3 again, after interface.gre1.map[0].protocol; allowed is one map for each overlay address`}},

	{"prefixes are prefixes", `announce = ["172.16.1.0", "172.16.1.1/24"]`,
		[]string{`interface.gre1.announce[0]: found "172.16.1.0", allowed is a prefix, such as "172.16.1.0/24"`,
			`interface.gre1.announce[1]: found 172.16.1.1/24, which has bits set beyond its length; allowed is the network, 172.16.1.0/24`}},
	{"of unicast addresses", `accept = ["224.0.0.0/8", "127.0.0.0/8"]`,
		[]string{`interface.gre1.accept[0]: found 224.0.0.0/8, a multicast or broadcast address; allowed is a network of unicast addresses`,
			`interface.gre1.accept[1]: found 127.0.0.0/8, a loopback address; allowed is a network of unicast addresses`}},
	{"not the default route, nor nearly", `accept = ["0.0.0.0/0", "128.0.0.0/1"]`,
		[]string{`interface.gre1.accept[0]: found 0.0.0.0/0, nearly the whole world; allowed is a prefix length of 8 and above, for IPv6 16 and above`,
			`interface.gre1.accept[1]: found 128.0.0.0/1, nearly the whole world; allowed is a prefix length of 8 and above, for IPv6 16 and above`}},
	{"of the overlay's family", `announce = ["2001:db8::/48"]`,
		[]string{`interface.gre1.announce[0]: found 2001:db8::/48, allowed is a prefix of the overlay's family, which is that of 10.255.0.11/24`}},
	{"outside the overlay", "announce = [\"10.255.0.0/28\"]\naccept = [\"10.255.0.0/24\", \"10.0.0.0/8\"]",
		[]string{`interface.gre1.announce[0]: found 10.255.0.0/28, which overlaps with the overlay 10.255.0.0/24; allowed are networks outside the tunnel`,
			`interface.gre1.accept[0]: found 10.255.0.0/24, which is in the overlay 10.255.0.0/24; allowed are networks outside the tunnel`}},
	{"outside the underlay", "underlay = \"198.51.100.11\"\nannounce = [\"198.51.100.8/29\"]",
		[]string{`interface.gre1.announce[0]: found 198.51.100.8/29, which contains 198.51.100.11, the address that the tunnel sends from; allowed are networks outside the underlay`}},
	{"where the peers are, too", "nhs = [{ nbma = \"198.51.100.1\" }]\nmap = [{ protocol = \"10.255.0.3\", nbma = \"203.0.113.3\" }]\naccept = [\"198.51.100.0/24\", \"203.0.113.0/24\"]",
		[]string{`interface.gre1.accept[0]: found 198.51.100.0/24, which contains the NHS 198.51.100.1; allowed are networks outside the underlay`,
			`interface.gre1.accept[1]: found 203.0.113.0/24, which contains the underlay address 203.0.113.3 of a map; allowed are networks outside the underlay`}},
	{"each once", `announce = ["172.16.0.0/16", "172.16.1.0/24"]`,
		[]string{`interface.gre1.announce[1]: found 172.16.1.0/24, which overlaps with 172.16.0.0/16 of interface.gre1.announce[0]; allowed is each address once`}},
	{"few enough for one registration that needs no fragments",
		"mtu = 576\nauthentication = \"" + strings.Repeat("x", 64) + "\"\nannounce = [" +
			strings.Join(manyPrefixes(25), ", ") + "]",
		[]string{`interface.gre1.announce: found 25 prefixes, allowed are 24 with this mtu: announce a shorter one that contains several`}},
	{"and for a hub to remember", `announce = [` + strings.Join(manyPrefixes(33), ", ") + `]`,
		[]string{`interface.gre1.announce: found 33 prefixes, allowed are 32: announce a shorter one that contains several`}},

	{"without IPsec the daemon does not start", "[interface.gre1.ipsec]\n-",
		[]string{`interface.gre1.ipsec: missing, so nothing would protect the tunnel; add [interface.gre1.ipsec] with identity and psk_file or certificates, or say protection = "none" for clear GRE in a lab`}},
	{"protection is one thing", `protection = "none"`,
		[]string{`interface.gre1.protection: found "none" together with [interface.gre1.ipsec]; allowed is one of the two`}},
	{"protection is a word", `protection = "ispec"`,
		[]string{`interface.gre1.protection: found "ispec"; did you mean "ipsec"?`}},
	{"an identity is needed", "[interface.gre1.ipsec]\nidentity =",
		[]string{`interface.gre1.ipsec.identity: missing; give the IKE identity of this router: identity = "spoke1.example.net"`}},
	{"a way to authenticate is needed", "[interface.gre1.ipsec]\npsk_file =",
		[]string{`interface.gre1.ipsec: found no way to authenticate; give psk_file, or certificates, or auth = "certificate" to have strongSwan choose the certificate by identity`}},
	{"one way", "[interface.gre1.ipsec]\nca = [\"ca.pem\"]",
		[]string{`interface.gre1.ipsec.psk_file: found together with certificates; allowed is one way to authenticate`}},
	{"that auth agrees with", "[interface.gre1.ipsec]\nauth = \"certificate\"",
		[]string{`interface.gre1.ipsec.auth: found "certificate" together with psk_file; allowed is one way to authenticate`}},
	{"psk needs its file", "[interface.gre1.ipsec]\npsk_file =\nauth = \"psk\"",
		[]string{`interface.gre1.ipsec.psk_file: missing; auth = "psk" needs it: psk_file = "/etc/cygnet/gre1.psk"`}},
	{"proposals have a form", "[interface.gre1.ipsec]\nproposals = [\"AES 128\"]\nesp_proposals = []",
		[]string{`interface.gre1.ipsec.proposals[0]: found "AES 128", allowed is a proposal in strongSwan's notation, such as "aes256gcm16-prfsha384-x25519-ke1_mlkem768"`,
			`interface.gre1.ipsec.esp_proposals: found an empty list; leave the key out for the default`}},
	{"proposals encrypt", "[interface.gre1.ipsec]\nproposals = [\"null-sha256-x25519\"]\nesp_proposals = [\"aes128gcm16\", \"null-sha1\", \"aes256gmac\"]\nchild = { ah_proposals = \"sha256\" }",
		[]string{`interface.gre1.ipsec.proposals[0]: found "null-sha256-x25519", which leaves everything readable; allowed are proposals with encryption`,
			`interface.gre1.ipsec.esp_proposals[1]: found "null-sha1", which leaves everything readable; allowed are proposals with encryption`,
			`interface.gre1.ipsec.esp_proposals[2]: found "aes256gmac", which leaves everything readable; allowed are proposals with encryption`,
			`interface.gre1.ipsec.child.ah_proposals: this key cannot be given here: AH leaves what it protects readable`}},
	{"dead peers must be noticed, and keys change", "[interface.gre1.ipsec]\nrekey_time = \"9s\"\nchild_rekey_time = \"200h\"\ndpd_delay = \"0s\"",
		[]string{`interface.gre1.ipsec.rekey_time: found 9s, allowed is 10s to 168h`,
			`interface.gre1.ipsec.child_rekey_time: found 200h, allowed is 10s to 168h`,
			`interface.gre1.ipsec.dpd_delay: found 0s, allowed is 1s to 1h`}},
	{"strongSwan counts whole seconds", "[interface.gre1.ipsec]\ndpd_delay = \"1.5s\"",
		[]string{`interface.gre1.ipsec.dpd_delay: found 1.5s, allowed are whole seconds`}},
	{"policies of SAs come before the guard, and those with marks before them", "[interface.gre1.ipsec]\nchild = { priority = 500000 }",
		[]string{"interface.gre1.ipsec.child.priority: found \"500000\": from 500000 on the kernel blocks all GRE before it looks for the SA; write priority = 1000"}},
	{"what the daemon depends on is not to be overridden", "[interface.gre1.ipsec]\nconnection = { version = 1 }\nchild = { mode = \"tunnel\" }",
		[]string{`interface.gre1.ipsec.connection.version: this key cannot be given here: the daemon needs IKEv2`,
			`interface.gre1.ipsec.child.mode: this key cannot be given here: GRE needs transport mode`}},
	{"VICI knows no decimals", "[interface.gre1.ipsec]\nconnection = { x = { y = 1.5 } }",
		[]string{`interface.gre1.ipsec.connection.x.y: found a decimal number, allowed is a string of at most 65535 bytes, an integer, true or false, a list of these or a table`}},

	{"two protected tunnels need underlay addresses of their own", "[interface.gre2]\naddress = \"10.254.0.1/24\"\nunderlay = \"eth0\"\nkey = 43\n[interface.gre2.ipsec]\nidentity = \"a\"\npsk_file = \"/a\"",
		[]string{`interface.gre2.underlay: found eth0, which gre1 is protected on too; allowed is one protected tunnel on an underlay, since an SA is for all GRE between two addresses: give one of the two another address of this router`}},
	{"two tunnels need keys of their own", "[interface.gre2]\naddress = \"10.254.0.1/24\"\nunderlay = \"eth0\"\nkey = 42\nprotection = \"none\"",
		[]string{`interface.gre2.protection: differs from that of gre1 on the same underlay eth0, and the block on clear GRE is for the whole address; allowed is one for all tunnels on an underlay`,
			`interface.gre2.key: found 42, which gre1 has on the same underlay eth0; allowed is each key once`}},
	{"and one protection", "[interface.gre2]\naddress = \"10.254.0.1/24\"\nunderlay = \"eth0\"\nkey = 43\nprotection = \"none\"",
		[]string{`interface.gre2.protection: differs from that of gre1 on the same underlay eth0, and the block on clear GRE is for the whole address; allowed is one for all tunnels on an underlay`}},
	{"and overlays", "[interface.gre2]\naddress = \"10.255.0.12/16\"\nunderlay = \"eth1\"\nprotection = \"none\"",
		[]string{`interface.gre2.address: found 10.255.0.12/16, which overlaps with 10.255.0.11/24 of gre1 in the same routing table; allowed are separate overlays, or a table for each`}},
	{"and addresses", "[interface.gre2]\naddress = \"10.255.0.11/24\"\nunderlay = \"eth1\"\nprotection = \"none\"\ntable = 7",
		[]string{`interface.gre2.address: found 10.255.0.11/24, the overlay address of gre1; allowed is each address once`}},
	{"an interface name fits into the kernel", "[interface.\"a/b\"]\naddress = \"10.254.0.1/24\"\nunderlay = \"eth1\"\nprotection = \"none\"",
		[]string{`interface."a/b": found the interface name "a/b", allowed are letters, digits and - _ . @ + ~`}},
	{"and has 15 characters at most", "[interface.abcdefghijklmnop]\naddress = \"10.254.0.1/24\"\nunderlay = \"eth1\"\nprotection = \"none\"",
		[]string{`interface.abcdefghijklmnop: found the interface name "abcdefghijklmnop", allowed are 1 to 15 characters`}},
	{"and is not the kernel's own", "[interface.gre0]\naddress = \"10.254.0.1/24\"\nunderlay = \"eth1\"\nprotection = \"none\"",
		[]string{`interface.gre0: "gre0" is a name of the kernel's own; choose another, such as gre1`}},

	{"the daemon's paths are absolute", "[daemon]\napi_socket = \"cygnet.sock\"\nstate_dir = \"/var/../x\"\nmax_initiations = 0",
		[]string{`daemon.api_socket: found "cygnet.sock", allowed is an absolute path without . and .. in it`,
			`daemon.state_dir: found "/var/../x", allowed is an absolute path without . and .. in it`,
			`daemon.max_initiations: found 0, allowed is 1 to 10000`}},
	{"a socket's path is short", "[daemon]\nvici_socket = \"/" + strings.Repeat("x", 107) + "\"",
		[]string{`daemon.vici_socket: found a path of 108 bytes, allowed for a socket are 107`}},
	{"log levels are words",
		"[log]\nlevel = \"warning\"\nformat = \"xml\"\nlevels = { engine = 1 }",
		[]string{`log.level: found "warning"; did you mean "warn"?`,
			`log.format: found "xml"; allowed: json, text`,
			`log.levels.engine: found 1, allowed is a string`}},
}

const noIPv6 = "allowed is an IPv4 address: Linux does not tell from whom a packet came through GRE over IPv6, so NHRP cannot work there (the overlay may be IPv6)"

// manyPrefixes returns count prefixes as the file writes them.
func manyPrefixes(count int) []string {
	var list []string
	for i := range count {
		list = append(list, fmt.Sprintf("\"172.16.%d.0/24\"", i))
	}
	return list
}

// Every fault is an error with file, line and key that says what was found and what is allowed. The
// correct rest of the file does not hide it, and the fault causes no further error.
func TestFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.rule, func(t *testing.T) {
			text := spokeWith(f.text)
			cfg, err := Parse([]byte(text), "F")
			if err == nil {
				t.Fatalf("accepted as %+v:\n%s", cfg, text)
			}
			var got []string
			for _, p := range problemsOf(t, err) {
				if p.File != "F" || p.Line < 1 || p.Line > strings.Count(text, "\n") {
					t.Errorf("place of %v", p)
				}
				got = append(got, p.Key+": "+p.Text)
			}
			sortAs := cmp.Transformer("sorted", sorted)
			if diff := cmp.Diff(f.want, got, sortAs); diff != "" {
				t.Errorf("want (-), got (+):\n%s\nof:\n%s", diff, text)
			}
		})
	}
}

// All faults are reported at once, in the order of the file, each with its line.
func TestAllFaultsAtOnce(t *testing.T) {
	_, err := Parse([]byte(`[interface.gre1]
address = "10.255.0.11/24"
underlay = "eth0"
kay = 42
nhs = [
  { nbma = "hub.example.net" },
  { nbma = "10.0.0.0.1" },
]

[interface.gre1.ipsec]
identity = ""
psk_file = 5

[[interface.gre2.map]]
protocol = "10.0.0.1"
[[interface.gre2.map]]
nbma = "10.0.0.1"

[log]
level = "lots"
`), "cygnet.toml")
	want := `cygnet.toml:4: interface.gre1.kay: unknown key; did you mean "key"?
cygnet.toml:7: interface.gre1.nhs[1].nbma: found "10.0.0.0.1", which is not an address; allowed is an address without prefix length or port, or a host name
cygnet.toml:11: interface.gre1.ipsec.identity: found "", allowed is an IKE identity such as "spoke1.example.net", "spoke1@example.net", an address or a distinguished name
cygnet.toml:12: interface.gre1.ipsec.psk_file: found an integer, allowed is a string
cygnet.toml:14: interface.gre2.address: missing; give the overlay address with its prefix length: address = "10.255.0.11/24"
cygnet.toml:14: interface.gre2.underlay: missing; give the device or the local address that the tunnel sends from: underlay = "eth0"
cygnet.toml:14: interface.gre2.map[0].nbma: missing; a map needs both: { protocol = "10.255.0.12", nbma = "203.0.113.12" }
cygnet.toml:14: interface.gre2.ipsec: missing, so nothing would protect the tunnel; add [interface.gre2.ipsec] with identity and psk_file or certificates, or say protection = "none" for clear GRE in a lab
cygnet.toml:16: interface.gre2.map[1].protocol: missing; a map needs both: { protocol = "10.255.0.12", nbma = "203.0.113.12" }
cygnet.toml:20: log.level: found "lots"; allowed: debug, error, info, warn`
	if err == nil {
		t.Fatal("accepted")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// A syntax error has a line, too.
func TestSyntaxError(t *testing.T) {
	_, err := Parse([]byte("[log]\nlevel = \"info\"\nformat = text\n"), "F")
	found := problemsOf(t, err)
	if len(found) != 1 || found[0].Line != 3 || !strings.HasPrefix(found[0].Text, "not TOML") {
		t.Errorf("got %v", err)
	}
}

// A string without quotation marks, the most likely mistake of all, is reported as such with its
// key, whatever the parser takes it for. Other syntax errors are not reported as such.
func TestStringWithoutQuotes(t *testing.T) {
	for line, key := range map[string]string{
		`address = 10.255.0.11/24`:                                "address",
		`holding_time = 10m`:                                      "holding_time",
		`underlay = eth0 # towards "the provider"`:                "underlay",
		`nhs = [{ nbma = 198.51.100.1 }]`:                         "nbma",
		`nhs = [{ nbma = "a#b", protocol = 10.255.0.1 }]`:         "protocol",
		`map = [{ protocol = "10.255.0.2", nbma = hub.example }]`: "nbma",
		`key = 42 ]`:                "",
		`ttl = = 64`:                "",
		`address = "10.255.0.11/24`: "",
	} {
		_, err := Parse([]byte("[interface.gre1]\n"+line+"\n"), "F")
		found := problemsOf(t, err)
		want := "not TOML; a string is written in quotes: " + key + ` = "…"`
		if len(found) != 1 || found[0].Line != 2 || key != "" && found[0].Text != want ||
			key == "" && !strings.HasPrefix(found[0].Text, "not TOML: ") {
			t.Errorf("%s\ngot  %v\nwant %s", line, err, want)
		}
	}
}

// A password without quotation marks is a syntax error, and the message does not show it.
func TestSyntaxErrorInPassword(t *testing.T) {
	_, err := Parse([]byte("[interface.gre1]\nauthentication = hunter2\n"), "F")
	want := `F:2: not TOML; a password is written in quotes: authentication = "…"`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// What works but was probably not intended causes a warning.
func TestWarnings(t *testing.T) {
	for _, test := range []struct{ rule, text, want string }{
		{"nothing to do", "-",
			`F: there is no [interface.NAME] table: the daemon has nothing to do`},
		{"shortcuts need an NHS", "nhs =", `F:5: interface.gre1.shortcut: shortcuts need an NHS to resolve with, and none is configured: give nhs = [{ nbma = "…" }]`},
		{"Cisco's passwords are short", `authentication = "123456789"`, `F:7: interface.gre1.authentication: the password has 9 characters, and Cisco routers take no more than 8`},
		{"old algorithms are broken", "[interface.gre1.ipsec]\nproposals = [\"aes128-sha256-x25519\", \"3des-md5-modp768\"]", `F:11: interface.gre1.ipsec.proposals[1]: found "3des-md5-modp768", and 3des, md5, modp768 can be broken; use others`},
		{"who announces must register", "server = false\naccept = [\"172.16.0.0/12\"]", `F:7: interface.gre1.server: found false beside accept: no router can register here, and so none can announce anything; remove one of the two`},
		{"and who is redirected", "server = false\nredirect = true", `F:7: interface.gre1.server: found false beside redirect: no router can register here, and only those with a map hear of shorter ways; remove one of the two`},
		{"a full-size MTU leaves no room", `mtu = 1476`, `F:7: interface.gre1.mtu: packets of 1476 bytes do not fit into an underlay of 1500 with GRE and ESP around them and will be fragmented; 1400 is right for most`},
	} {
		t.Run(test.rule, func(t *testing.T) {
			text := spokeWith(test.text)
			if test.text == "-" {
				text = ""
			}
			cfg, err := Parse([]byte(text), "F")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{test.want}, cfg.Warnings); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
		})
	}
}
