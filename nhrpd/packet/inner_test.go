package packet

import "testing"

// IPv4 (RFC 791) and IPv6 (RFC 8200 §4) packets as indications quote them: cut off anywhere after
// the IP header.
func TestParseInner(t *testing.T) {
	const (
		addrs4 = " 0a000001 0a000002 "
		addrs6 = " 20010db8000000000000000000000001 20010db8000000000000000000000002 "
	)
	v4 := Inner{Source: addr("10.0.0.1"), Dest: addr("10.0.0.2")}
	v6 := Inner{Source: addr("2001:db8::1"), Dest: addr("2001:db8::2")}
	with := func(in Inner, protocol uint8, ports ...uint16) Inner {
		in.Protocol = protocol
		if len(ports) == 2 {
			in.Ports, in.SourcePort, in.DestPort = true, ports[0], ports[1]
		}
		return in
	}
	tests := []struct {
		name string
		hex  string
		want Inner
	}{
		{"TCP", "45000028 00004000 40060000" + addrs4 + "c350 0050", with(v4, 6, 50000, 80)},
		{"UDP with IPv4 options", "46000028 00000000 40110000" + addrs4 + "01010101 0035 c350",
			with(v4, 17, 53, 50000)},
		{"first fragment", "45000028 00002000 40110000" + addrs4 + "0035 c350",
			with(v4, 17, 53, 50000)},
		{"later fragment", "45000028 00002001 40110000" + addrs4 + "0035 c350", with(v4, 17)},
		{"fragment at 32768", "45000028 00001000 40110000" + addrs4 + "0035 c350", with(v4, 17)},
		{"ICMP", "45000028 00000000 40010000" + addrs4 + "0800 0000", with(v4, 1)},
		{"SCTP", "45000028 00000000 40840000" + addrs4 + "0035 c350", with(v4, 132, 53, 50000)},
		{"ports cut off", "45000028 00000000 40060000" + addrs4 + "c350 00", with(v4, 6)},
		{"IPv4 options cut off", "4f000028 00000000 40060000" + addrs4 + "c350 0050", with(v4, 6)},

		{"IPv6 TCP", "60000000 0014 06 40" + addrs6 + "c350 0050", with(v6, 6, 50000, 80)},
		{"IPv6 ICMP", "60000000 0014 3a 40" + addrs6 + "8000 0000", with(v6, 58)},
		{"hop-by-hop and destination options", "60000000 0020 00 40" + addrs6 +
			"3c 00 010400000000" + "11 01 010c000000000000000000000000" + "0035 c350",
			with(v6, 17, 53, 50000)},
		{"authentication header", "60000000 0020 33 40" + addrs6 +
			"06 01 0000 00000001 00000001" + "c350 0050", with(v6, 6, 50000, 80)},
		{"first IPv6 fragment",
			"60000000 0020 2c 40" + addrs6 + "11 00 0001 00000001" + "0035 c350",
			with(v6, 17, 53, 50000)},
		{"later IPv6 fragment",
			"60000000 0020 2c 40" + addrs6 + "11 00 0009 00000001" + "0035 c350", with(v6, 17)},
		{"extension header cut off", "60000000 0020 2b 40" + addrs6 + "06 01 0000 00000000",
			with(v6, 43)},
		{"nothing after the IPv6 header", "60000000 0020 00 40" + addrs6, with(v6, 0)},
		{"no next header", "60000000 0000 3b 40" + addrs6, with(v6, 59)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseInner(unhex(t, test.hex))
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// ParseInner needs a complete IP header.
func TestParseInnerMalformed(t *testing.T) {
	tests := []struct {
		name string
		hex  string
		want error
	}{
		{"nothing", "", errInnerShort},
		{"IPv4 of 19 bytes", "45000028 00000000 40060000 0a000001 0a0000", errInnerShort},
		{"IPv4 header of 16 bytes", "44000028 00000000 40060000 0a000001 0a000002", errInnerHeader},
		{"IPv6 of 39 bytes", "60000000 0014 06 40 20010db8000000000000000000000001 20010db80000000000000000000000", errInnerShort},
		{"version 5", "55000028 00000000 40060000 0a000001 0a000002", errInnerVersion},
	}
	for _, test := range tests {
		if in, err := ParseInner(unhex(t, test.hex)); err != test.want || in != (Inner{}) {
			t.Errorf("%s: %+v, %v, want %v", test.name, in, err, test.want)
		}
	}
}
