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
		[]string{`interface.gre1.limits.frobnication: unknown key; allowed here: answers, bindings, errors, held, indications, links, multicast_bytes, multicast_packets, prefixes, requests, sas, shortcuts, transit`}},
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

	{"several underlays are devices", `underlay = ["192.0.2.1", "eth1"]`,
		[]string{`interface.gre1.underlay[0]: found an address beside other underlays; allowed are devices only, whose addresses are followed`}},
	{"of several underlays each is named once", `underlay = ["eth0", "eth0", "wwan 0"]`,
		[]string{`interface.gre1.underlay[1]: found "eth0", which is there already; allowed is each device once`,
			`interface.gre1.underlay[2]: found "wwan 0", allowed is a device such as "wwan0"`}},
	{"there is a bound for underlays", `underlay = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]`,
		[]string{`interface.gre1.underlay: found 9 devices, allowed are 8`}},

	{"a priority is one of Cisco's", `nhs = [{ nbma = "hub", priority = 256, cluster = 11 }]`,
		[]string{`interface.gre1.nhs[0].priority: found 256, allowed is 0 to 255`,
			`interface.gre1.nhs[0].cluster: found 11, allowed is 0 to 10`}},
	{"a cluster needs its maximum", `nhs_cluster = [{ cluster = 0 }]`,
		[]string{`interface.gre1.nhs_cluster[0].max_connections: missing; a cluster needs both: { cluster = 0, max_connections = 1 }`}},
	{"of at least one", `nhs_cluster = [{ cluster = 0, max_connections = 0 }]`,
		[]string{`interface.gre1.nhs_cluster[0].max_connections: found 0, allowed is 1 to 255`}},
	{"a cluster is named once", `nhs_cluster = [{ cluster = 0, max_connections = 1 }, { cluster = 0, max_connections = 2 }]`,
		[]string{`interface.gre1.nhs_cluster[1].cluster: found 0 again, after interface.gre1.nhs_cluster[0].cluster; allowed is each cluster once`}},
	{"the fallback delay has a bound", `fallback_delay = "2h"`,
		[]string{`interface.gre1.fallback_delay: found 2h, allowed is 0s to 1h`}},

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
	{"a table for host routes has a rule of its own", "table = 100\nhost_table = 101",
		[]string{`interface.gre1.host_table: found 101 without host_rule; give the priority of a rule before the one that leads to table 100, such as host_rule = 999`}},
	{"the underlay's table is none of the kernel's", "underlay_table = 254",
		[]string{`interface.gre1.underlay_table: found 254, one of the kernel's own tables; allowed is a table of the underlay's own, such as 100`}},
	{"the underlay has a table of its own", "table = 100\nunderlay_table = 100",
		[]string{`interface.gre1.underlay_table: found 100, which is a table for routes by the tunnel; allowed is a table of the underlay's own, such as 100`}},
	{"the underlay is in a VRF, not in the tunnel", `underlay_vrf = "gre1"`,
		[]string{`interface.gre1.underlay_vrf: found "gre1", the device of the tunnel or of the underlay itself; allowed is the VRF that the underlay is in`}},
	{"a VRF has a device's name", `underlay_vrf = "the internet"`,
		[]string{`interface.gre1.underlay_vrf: found "the internet", allowed is the name of a VRF, such as "inet"`}},
	{"it is none of the kernel's", "host_table = 254",
		[]string{`interface.gre1.host_table: found 254, one of the kernel's own tables; allowed is any other, such as 84, or 0 for none`}},
	{"it holds host routes only", "table = 100\nhost_table = 100\nhost_rule = 9",
		[]string{`interface.gre1.host_table: found 100, which is the table of the interface; allowed is another one, which nothing else uses, or 0 for none`}},
	{"its rule comes before the main table's", "host_rule = 32766",
		[]string{`interface.gre1.host_rule: found 32766, allowed is 1 to 32765`}},
	{"another interface does not use it", "[interface.gre2]\naddress = \"10.9.0.1/24\"\nunderlay = \"eth1\"\nprotection = \"none\"\ntable = 84",
		[]string{`interface.gre1.host_table: found 84, which is the table of gre2; allowed is one that nothing else uses`}},
	{"a VRF leaves no room for one", "vrf = \"blue\"\nhost_table = 101\nhost_rule = 9",
		[]string{`interface.gre1.host_table: found 101 beside vrf, and the rule that leads to such a table would hold in every VRF and outside of them; allowed is 0, for none`}},
	{"a VRF is a device", `vrf = "a VRF"`,
		[]string{`interface.gre1.vrf: found "a VRF"; allowed is the name of a VRF, such as blue (ip link add blue up type vrf table 10)`}},
	{"of its own", `vrf = "gre1"`,
		[]string{`interface.gre1.vrf: found "gre1", the name of the tunnel itself; allowed is the name of a VRF`}},
	{"in one VRF, overlays are separate", "vrf = \"blue\"\n[interface.gre2]\naddress = \"10.255.0.1/23\"\nunderlay = \"eth1\"\nprotection = \"none\"\nvrf = \"blue\"",
		[]string{`interface.gre2.address: found 10.255.0.1/23, which overlaps with 10.255.0.11/24 of gre1 in the same routing table; allowed are separate overlays, or a table for each`}},
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
	{"prove_paths is a word", `prove_paths = "yes"`,
		[]string{`interface.gre1.prove_paths: found "yes"; allowed: off, on, only`}},
	{"mtu is a number or auto", `mtu = "big"`,
		[]string{`interface.gre1.mtu: found "big"; allowed are "auto" and a number of bytes`}},
	{"mss is a number, auto or off", "mss = \"tiny\"",
		[]string{`interface.gre1.mss: found "tiny"; ` +
			`allowed are "auto", "off" and a number of bytes`}},
	{"mss has a range", "mss = 100",
		[]string{`interface.gre1.mss: found 100, allowed is 536 to 65535`}},
	{"outer_df is a word", `outer_df = "path"`,
		[]string{`interface.gre1.outer_df: found "path"; allowed: always, copy, never`}},
	{"large_packets is a word", `large_packets = "mtu"`,
		[]string{`interface.gre1.large_packets: found "mtu"; allowed: hub, smaller_mtu`}},
	{"path_timeout has a range", `path_timeout = "100ms"`,
		[]string{`interface.gre1.path_timeout: found 100ms, allowed is 1s to 1m`}},
	{"an authorizer has a path", `authorize = "authz.sock"`,
		[]string{`interface.gre1.authorize: found "authz.sock", allowed is the absolute path of a socket, of at most 107 bytes`}},
	{"an authorizer has little time", "authorize_timeout = \"1m\"\nauthorize_default = \"deny\"",
		[]string{
			`interface.gre1.authorize_default: found "deny"; allowed: allow, refuse`,
			`interface.gre1.authorize_timeout: found 1m, allowed is 100ms to 10s`,
		}},
	{"if_state follows NHSs", "if_state = true\nnhs = []",
		[]string{`interface.gre1.if_state: found true, and no NHS is configured for it to follow; allowed with nhs`}},
	{"a receiver is a word or an overlay address", "multicast = [\"client\"]",
		[]string{`interface.gre1.multicast[0]: found "client", allowed are "nhs", "clients" and overlay addresses of routers`}},
	{"a receiver has the overlay's family", "multicast = [\"fd00::1\"]",
		[]string{`interface.gre1.multicast[0]: found fd00::1, allowed is an address of the overlay's family, which is that of 10.255.0.11/24; for both families, give address one of each`}},
	{"a router does not receive from itself", "multicast = [\"10.255.0.11\"]",
		[]string{`interface.gre1.multicast[0]: found 10.255.0.11, the overlay address of this router`}},
	{"a receiver is named once", "multicast = [\"10.255.0.12\", \"10.255.0.12\"]",
		[]string{`interface.gre1.multicast[1]: found 10.255.0.12 twice`}},
	{"a group is one", "multicast_allow = [\"10.0.0.0/8\"]",
		[]string{`interface.gre1.multicast_allow[0]: found 10.0.0.0/8, which holds no groups; allowed is a prefix inside 224.0.0.0/4 or ff00::/8`}},
	{"a prefix of groups is masked", "multicast_allow = [\"239.0.0.1/8\"]",
		[]string{`interface.gre1.multicast_allow[0]: found 239.0.0.1/8, which has bits set beyond its length; allowed is 239.0.0.0/8`}},
	{"a group is in one list", "multicast_allow = [\"239.0.0.0/8\"]\nmulticast_deny = [\"239.0.0.0/8\"]",
		[]string{`interface.gre1.multicast_deny[0]: found 239.0.0.0/8 twice`}},
	{"relaying needs admission", "multicast_relay = true\nadmission = false",
		[]string{`interface.gre1.multicast_relay: found true with admission = false, which would let anybody send to all routers; allowed with admission = true`}},
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
		[]string{`interface.gre1.nhs[0].protocol: found 2001:db8::1, allowed is an address of the overlay's family, which is that of 10.255.0.11/24; for both families, give address one of each`}},
	{"one address of each family", `address = ["10.255.0.11/24", "fd00::11/64", "10.254.0.11/24"]`,
		[]string{`interface.gre1.address[2]: found 10.254.0.11/24 beside 10.255.0.11/24, allowed is one address of each family`}},
	{"no address", `address = []`,
		[]string{`interface.gre1.address: found a list, allowed is a string, or a list of strings such as ["…"]`}},
	{"one range of each family", "address = [\"10.255.0.11/24\", \"fd00::11/64\"]\noverlay = [\"fd00::/48\", \"fd00::/60\", \"10.254.0.0/24\"]",
		[]string{`interface.gre1.overlay[1]: found fd00::/60 beside fd00::/48, allowed is one prefix of each family`,
			`interface.gre1.overlay[2]: found 10.254.0.0/24, allowed is a prefix that contains address, 10.255.0.11/24`}},
	{"one address of an NHS of each family", "address = [\"10.255.0.11/24\", \"fd00::11/64\"]\nnhs = [{ nbma = \"hub\", protocol = [\"10.255.0.1\", \"10.255.0.2\", \"fd00::11\", \"fe80::1\"] }]",
		[]string{`interface.gre1.nhs[0].protocol[1]: found 10.255.0.2 beside 10.255.0.1, allowed is one address of each family`,
			`interface.gre1.nhs[0].protocol[2]: found fd00::11, this router's own overlay address; allowed is the server's`,
			`interface.gre1.nhs[0].protocol[3]: found "fe80::1", a link-local address; allowed is a unicast address, such as "10.255.0.1"`}},
	{"an IPv6 overlay needs its MTU", "address = [\"10.255.0.11/24\", \"fd00::11/64\"]\nmtu = 1200",
		[]string{`interface.gre1.mtu: found 1200, allowed is 1280 to 65000`}},
	{"NBMA addresses are of the underlay's IP versions", "underlay = \"2001:db8::11\"\nnhs = [{ nbma = \"192.0.2.1\" }]\nmap = [{ protocol = \"10.255.0.3\", nbma = \"2001:db8::3\" }]",
		[]string{`interface.gre1.nhs[0].nbma: found 192.0.2.1, and underlay has 2001:db8::11 only; give underlay an address of the same IP version too`}},
	{"an underlay has one address of each IP version", `underlay = ["192.0.2.1", "2001:db8::1", "192.0.2.2"]`,
		[]string{`interface.gre1.underlay: found 192.0.2.2 beside 192.0.2.1; allowed is one address of each IP version`}},
	{"IPv6 addresses need IPsec", "protection = \"none\"\nnhs = [{ nbma = \"2001:db8::1\" }]",
		[]string{`interface.gre1.nhs[0].nbma: found 2001:db8::1, an IPv6 address, and protection = "none"; allowed with IPsec, or an IPv4 address: without SAs nothing shows that a peer at an IPv6 address is there (the overlay may be IPv6)`,
			`interface.gre1.protection: found "none" together with [interface.gre1.ipsec]; allowed is one of the two`}},
	{"a map needs both", `map = [{ nbma = "198.51.100.1" }]`,
		[]string{`interface.gre1.map[0].protocol: missing; a map needs both: { protocol = "10.255.0.12", nbma = "203.0.113.12" }`}},
	{"a map leads to no mark", `map = [{ protocol = "10.255.0.3", nbma = "0.0.0.5" }]`,
		[]string{`interface.gre1.map[0].nbma: found "0.0.0.5", an address in 0.0.0.0/8, which no host has; allowed is a unicast address, such as "203.0.113.12"`}},
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
		[]string{`interface.gre1.announce[0]: found 2001:db8::/48, allowed is a prefix of the overlay's family, which is that of 10.255.0.11/24; for both families, give address one of each`}},
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

	{"two protected tunnels on one underlay share their SAs", "[interface.gre2]\naddress = \"10.254.0.1/24\"\nunderlay = \"eth0\"\nkey = 43\n[interface.gre2.ipsec]\nidentity = \"a\"\npsk_file = \"/a\"\ndpd_delay = \"5s\"",
		[]string{`interface.gre2.ipsec.identity: differs from interface.gre1.ipsec.identity, but gre1 and gre2 send from eth0 and so share the SA with each router; allowed are the same IPsec settings, or another address of this router for one of the two`,
			`interface.gre2.ipsec.dpd_delay: differs from interface.gre1.ipsec.dpd_delay, but gre1 and gre2 send from eth0 and so share the SA with each router; allowed are the same IPsec settings, or another address of this router for one of the two`}},
	{"an SA per key needs a key that strongSwan can select", "[interface.gre1.ipsec]\nsa = \"per-key\"",
		[]string{`interface.gre1.key: found 42 with sa = "per-key"; allowed is N * 65537 with N from 1 to 65535, since strongSwan can limit an SA to such keys only: give all routers of this overlay key = 2752554 (N = 42) and sa = "per-key"`}},
	{"and a key at all", "key =\n[interface.gre1.ipsec]\nsa = \"per-key\"",
		[]string{`interface.gre1.ipsec.sa: found "per-key" without a GRE key; allowed is it with a key of N * 65537 with N from 1 to 65535, since strongSwan can limit an SA to such keys only: give all routers of this overlay key = 65537 (or another one of that form)`}},
	{"there are two kinds of SAs", "[interface.gre1.ipsec]\nsa = \"perkey\"",
		[]string{`interface.gre1.ipsec.sa: found "perkey"; did you mean "per-key"?`}},
	{"a site's connection has selectors of its own", "[interface.gre1.ipsec]\nidentity =\npsk_file =\nswanctl_connection = \"dmvpn\"\nsa = \"per-key\"",
		[]string{`interface.gre1.ipsec.sa: found together with swanctl_connection, whose child has traffic selectors of its own; allowed is it beside identity and psk_file or certificates here`}},
	{"all tunnels on an underlay have one kind of SAs", "[interface.gre2]\naddress = \"10.254.0.1/24\"\nunderlay = \"eth0\"\nkey = 65537\n[interface.gre2.ipsec]\nidentity = \"spoke1.example.net\"\npsk_file = \"/a\"\nsa = \"per-key\"",
		[]string{`interface.gre2.ipsec.sa: differs from interface.gre1.ipsec.sa, but gre1 and gre2 send from eth0, and an SA that is shared there would carry the GRE of both; allowed is one for all tunnels on an underlay, or another address of this router for one of the two`}},
	{"and take one way", "[interface.gre2]\naddress = \"10.254.0.1/24\"\nunderlay = \"eth0\"\nunderlay_table = 100\nkey = 43\n[interface.gre2.ipsec]\nidentity = \"spoke1.example.net\"\npsk_file = \"/a\"",
		[]string{`interface.gre2.underlay_table: differs from interface.gre1.underlay_table on the same underlay eth0; allowed is one for all tunnels on an underlay`}},
	{"in one VRF", "[interface.gre2]\naddress = \"10.254.0.1/24\"\nunderlay = \"eth0\"\nunderlay_vrf = \"inet\"\nkey = 43\n[interface.gre2.ipsec]\nidentity = \"spoke1.example.net\"\npsk_file = \"/a\"",
		[]string{`interface.gre2.underlay_vrf: differs from interface.gre1.underlay_vrf on the same underlay eth0; allowed is one for all tunnels on an underlay`}},
	{"over one device", "[interface.gre2]\naddress = \"10.254.0.1/24\"\nunderlay = [\"eth0\", \"eth1\"]\nunderlay_table = 100\nnhs = [{ nbma = \"192.0.2.1\" }]\nkey = 43\n[interface.gre2.ipsec]\nidentity = \"spoke1.example.net\"\npsk_file = \"/a\"",
		[]string{`interface.gre2.underlay: found eth0, which gre1 is protected on too, and one of the two names several devices; allowed is one device for several tunnels on it`}},
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
	{"the metrics have an address with a port, or a path",
		"[daemon]\nmetrics = \"localhost:9116\"\nmetrics_peers = 10001",
		[]string{`daemon.metrics: found "localhost:9116", allowed is an address with a port, such as "127.0.0.1:9116", or the path of a socket`,
			`daemon.metrics_peers: found 10001, allowed is 0 to 10000`}},
	{"no port is none for the metrics", "[daemon]\nmetrics = \"[::1]:0\"",
		[]string{`daemon.metrics: found "[::1]:0", allowed is an address with a port, such as "127.0.0.1:9116", or the path of a socket`}},
	{"a path of the metrics is absolute and short", "[daemon]\nmetrics = \"/run/../x\"",
		[]string{`daemon.metrics: found "/run/../x", allowed is an absolute path without . and .. in it`}},
	{"log levels are words",
		"[log]\nlevel = \"warning\"\nformat = \"xml\"\nlevels = { engine = 1 }",
		[]string{`log.level: found "warning"; did you mean "warn"?`,
			`log.format: found "xml"; allowed: json, text`,
			`log.levels.engine: found 1, allowed is a string`}},
}

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

// A password without quotation marks is a syntax error, and the message does not show it.
func TestSyntaxErrorInPassword(t *testing.T) {
	_, err := Parse([]byte("[interface.gre1]\nauthentication = hunter2\n"), "F")
	want := `F:2: not TOML; a secret is written in quotes: authentication = "…"`
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

// Settings of hubs in reserve that have no effect are warned of.
func TestReserveWithoutEffect(t *testing.T) {
	const interfaceLines = "[interface.gre1]\naddress = \"10.255.0.11/24\"\nunderlay = \"eth0\"\n" +
		"protection = \"none\"\n"
	for _, tt := range []struct{ lines, want string }{
		{`nhs = [{ nbma = "hub", priority = 3, cluster = 2 }]`, `interface.gre1.nhs[0].priority: ` +
			`all NHSs of cluster 2 are used, so this has no effect: ` +
			`give nhs_cluster = [{ cluster = 2, max_connections = 1 }]`},
		{"nhs = [{ nbma = \"hub\" }]\nnhs_cluster = [{ cluster = 1, max_connections = 1 }]",
			`interface.gre1.nhs_cluster[0].cluster: no NHS is in cluster 1, ` +
				`so this has no effect: give nhs = [{ nbma = "…", cluster = 1 }]`},
		{"nhs = [{ nbma = \"hub\", priority = 3 }]\n" +
			"nhs_cluster = [{ cluster = 0, max_connections = 1 }]", ""},
	} {
		warnings := strings.Join(mustParse(t, interfaceLines+tt.lines).Warnings, "\n")
		if tt.want != "" && !strings.Contains(warnings, tt.want) ||
			tt.want == "" && strings.Contains(warnings, "no effect") {
			t.Errorf("%s: warnings %q, want %q", tt.lines, warnings, tt.want)
		}
	}
}
