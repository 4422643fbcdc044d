package engine

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// tshark finds no fault with the engine's Error Indications: the quoted packets are whole.
func TestErrorsAsTsharkReadsThem(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("this machine has no tshark")
	}
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Limits.Errors = 100 })
	spoke1 := hub.from("192.0.2.11", "spoke1")
	nowhere := requestFrom("192.0.2.11", "10.255.0.11", "203.0.113.1")
	last := requestFrom("192.0.2.11", "10.255.0.11", "203.0.113.1")
	last.HopCount = 1
	password := registrationFrom("192.0.2.11", "10.255.0.11")
	password.Extensions = append(password.Extensions, packet.PasswordExtension("guess"))
	version := encode(t, nowhere)
	version[16] = 2
	fixChecksum(version)
	var errors [][]byte
	for _, data := range [][]byte{encode(t, nowhere), encode(t, last), encode(t, password),
		encode(t, purgeOf("192.0.2.11", "10.255.0.11", "203.0.113.1", lan1)), version} {
		if got := only(t, spoke1.saysBytes(data)); got.Type != packet.ErrorIndication {
			t.Fatalf("answered with a %s", got.Type)
		}
		errors = append(errors, hub.sent[len(hub.sent)-1].data)
	}
	file := filepath.Join(t.TempDir(), "errors.pcap")
	if err := os.WriteFile(file, pcap(errors), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(
		tshark, "-r", file, "-T", "fields", "-E", "separator=,",
		"-e", "frame.number", "-e", "nhrp.hdr.op.type",
		"-e", "nhrp.hdr.chksum.status", "-e", "_ws.malformed",
	).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(errors) {
		t.Fatalf("tshark read %d packets of %d:\n%s", len(lines), len(errors), out)
	}
	for _, line := range lines {
		if fields := strings.SplitN(line, ",", 3); fields[1] != "7" ||
			!strings.HasSuffix(line, ",") {
			t.Errorf("tshark finds fault with an error of ours: %s", line)
		}
	}
}

// tshark decodes what routers at IPv6 addresses send each other (address family 2), with our
// extension in it, and finds no fault.
func TestIPv6AsTsharkReadsIt(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("this machine has no tshark")
	}
	m := newMixed(t, hub6, "192.0.2.12",
		func(c *overlay.InterfaceConfig) { c.Paths.Prove = true })
	m.until("both are registered", 2*time.Second, func() bool {
		return m.spoke1.registered() && m.spoke2.registered()
	})
	m.until("the direct way", 5*time.Second, func() bool {
		return len(m.ping(m.spoke1, host1, host2)) == 2
	})
	var packets [][]byte
	kinds := map[packet.Type]bool{}
	for _, n := range m.nodes {
		for _, sent := range n.sent {
			var p packet.Packet
			if err := p.Parse(sent.data); err != nil {
				t.Fatal(err)
			}
			// The packets that indications quote here are no whole ones.
			if p.SourceNBMA.Is6() && p.Type != packet.TrafficIndication {
				packets, kinds[p.Type] = append(packets, sent.data), true
			}
		}
	}
	for _, kind := range []packet.Type{packet.RegistrationRequest, packet.RegistrationReply,
		packet.ResolutionRequest, packet.ResolutionReply} {
		if !kinds[kind] {
			t.Errorf("there is no %s over IPv6 to decode", kind)
		}
	}
	file := filepath.Join(t.TempDir(), "ipv6.pcap")
	if err := os.WriteFile(file, pcap(packets), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(
		tshark, "-r", file, "-T", "fields", "-E", "separator=;", "-e", "nhrp.hdr.afn",
		"-e", "nhrp.hdr.chksum.status", "-e", "_ws.malformed", "-e", "nhrp.src.nbma.addr_bytes",
	).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(packets) {
		t.Fatalf("tshark read %d packets of %d:\n%s", len(lines), len(packets), out)
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "0x0002;1;;20010db8") {
			t.Errorf("tshark read %q, want address family 2, a good checksum, nothing malformed "+
				"and an IPv6 source", line)
		}
	}
}

// pcap returns a capture file of NHRP packets in GRE over IPv4.
func pcap(packets [][]byte) []byte {
	const rawIP = 101
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, rawIP, 0, 0, 0)
	for _, p := range packets {
		ip := ipv4(addr("192.0.2.1"), addr("192.0.2.11"))[:20]
		ip[9] = 47
		frame := slices.Concat(ip, []byte{0, 0, 0x20, 1}, p)
		binary.BigEndian.PutUint16(frame[2:], uint16(len(frame)))
		b = append(b, make([]byte, 8)...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = append(b, frame...)
	}
	return b
}
