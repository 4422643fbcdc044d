package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"testing"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/packet"
)

// encoded returns a packet as it is on the wire.
func encoded(t *testing.T, p packet.Packet) []byte {
	t.Helper()
	b, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// monitored returns packets of each kind.
func monitored(t *testing.T) []api.Monitored {
	cie := packet.CIE{PrefixLength: 24, MTU: 1400, HoldingTime: 600, NBMA: addr("203.0.113.12"),
		Protocol: addr("10.255.0.12")}
	refusal := packet.CIE{Code: packet.CodeProhibited}
	base := packet.Packet{HopCount: 255, RequestID: 0x1234abcd, SourceNBMA: addr("203.0.113.11"),
		SourceProtocol: addr("10.255.0.11"), DestProtocol: addr("172.16.2.10")}
	request, reply, nak, indication, fault := base, base, base, base, base
	request.Type, request.Flags = packet.ResolutionRequest,
		packet.ResolutionRouter|packet.ResolutionSourceStable|packet.FlagNAT|0x0100
	request.CIEs = []packet.CIE{{MTU: 1400}}
	request.Extensions = []packet.Extension{
		{Type: packet.ExtensionForwardTransit, Compulsory: true, CIEs: []packet.CIE{cie}},
		packet.PasswordExtension("xxxxxxxx"),
		{Type: packet.ExtensionVendor, Data: bytes.Repeat([]byte{7}, 40)},
		{Type: packet.ExtensionResponder, Compulsory: true},
	}
	reply.Type, reply.CIEs = packet.ResolutionReply, []packet.CIE{cie}
	nak.Type, nak.CIEs = packet.ResolutionReply, []packet.CIE{refusal}
	indication.Type, indication.RequestID = packet.TrafficIndication, 0
	indication.Quoted = make([]byte, 28)
	copy(indication.Quoted, []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 63, 17, 0, 0, 172, 16, 1, 10, 172,
		16, 2, 10})
	fault.Type, fault.RequestID = packet.ErrorIndication, 0
	fault.ErrorCode, fault.ErrorOffset = packet.ErrorHopCount, 20
	fault.Quoted = encoded(t, request)
	in := api.Monitored{At: now, Interface: "gre1", Local: addr("203.0.113.11"),
		NBMA: addr("198.51.100.1"), Identity: "hub.example.net", Verdict: "accepted"}
	var list []api.Monitored
	for n, p := range []packet.Packet{request, reply, nak, indication, fault} {
		m := in
		m.Data = encoded(t, p)
		if m.Out = n == 0; m.Out {
			m.Verdict = "sent"
		}
		list = append(list, m)
	}
	list[2].Verdict, list[2].Lost = "dropped: reply without a request", 3
	broken := in
	broken.Data, broken.Verdict = list[1].Data[:25], "dropped: malformed"
	// The extension before the end of the extensions claims to be longer than the packet.
	long := broken
	long.Data = encoded(t, request)
	binary.BigEndian.PutUint16(long.Data[len(long.Data)-6:], 100)
	binary.BigEndian.PutUint16(long.Data[12:], 0)
	binary.BigEndian.PutUint16(long.Data[12:], checksum(long.Data))
	six := list[1]
	six.Local, six.NBMA = addr("2001:db8::11"), addr("2001:db8::1")
	return append(list, broken, long, six)
}

// monitor shows every field of each packet, and what the daemon made of it.
func TestMonitor(t *testing.T) {
	d := &daemon{packets: monitored(t)}
	code, out, errs := cygnet("monitor", "--peer", "10.255.0.1", "--interface", "gre1", "--type",
		"registration-reply", "--socket", start(t, d))
	// The test's daemon ends the stream, which a real one does only when it ends.
	if code != exitError || !strings.Contains(errs, "ended the stream") ||
		d.drained[0] != "monitor {Peer:10.255.0.1 Interface:gre1 Type:registration-reply}" {
		t.Errorf("code %d, %s, passed %q", code, errs, d.drained)
	}
	golden(t, "testdata/monitor.txt", out)
}

// A type of messages that does not exist is a wrong argument, and the daemon is not asked.
func TestMonitorOfNoType(t *testing.T) {
	d := &daemon{}
	code, _, errs := cygnet("monitor", "--type", "registration", "--socket", start(t, d))
	if code != exitUsage || !strings.Contains(errs, "registration-request, ") ||
		len(d.drained) > 0 {
		t.Errorf("code %d, %s, passed %q", code, errs, d.drained)
	}
}

// Without a daemon, or where it refuses, -w makes no file, and leaves one that is there.
func TestMonitorKeepsTheFileWithoutAStream(t *testing.T) {
	for what, socket := range map[string]string{
		"no daemon":             t.TempDir() + "/none.sock",
		"a daemon that refuses": start(t, &daemon{err: api.ErrRefused}),
	} {
		dir := t.TempDir()
		there, other := dir+"/there.pcap", dir+"/new.pcap"
		if err := os.WriteFile(there, []byte("captured"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{there, other} {
			if code, _, _ := cygnet("monitor", "-w", file, "--socket", socket); code == exitOK {
				t.Errorf("%s: monitor succeeds", what)
			}
		}
		if b, err := os.ReadFile(there); string(b) != "captured" {
			t.Errorf("%s: the file that was there has %q (%v)", what, b, err)
		}
		if _, err := os.Stat(other); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the new file is there (%v)", what, err)
		}
	}
}

// With -w, monitor writes the packets to a pcap file, behind headers of IP and GRE.
func TestMonitorFile(t *testing.T) {
	file := t.TempDir() + "/nhrp.pcap"
	packets := monitored(t)
	_, out, _ := cygnet("monitor", "-w", file, "--socket", start(t, &daemon{packets: packets}))
	if out != "" {
		t.Errorf("shows %s", out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has the mode %v (%v), want 0600", info.Mode(), err)
	}
	le := binary.LittleEndian
	if le.Uint32(b) != pcapNanoseconds || le.Uint32(b[20:]) != pcapRawIP {
		t.Errorf("header %x", b[:24])
	}
	b = b[24:]
	for n, m := range packets {
		size := int(le.Uint32(b[8:]))
		frame := b[16 : 16+size]
		b = b[16+size:]
		header, source := ipHeader, netip.AddrFrom4([4]byte(frame[12:16]))
		if m.NBMA.Is6() {
			header, source = ip6Header, netip.AddrFrom16([16]byte(frame[8:24]))
		} else if checksum(frame[:ipHeader]) != 0 {
			t.Errorf("packet %d: wrong checksum of the IP header", n)
		}
		want := m.NBMA
		if m.Out {
			want = m.Local
		}
		if source != want || !bytes.Equal(frame[header+greHeader:], m.Data) {
			t.Errorf("packet %d comes from %s, want %s", n, source, want)
		}
	}
	if len(b) != 0 {
		t.Errorf("%d bytes are left", len(b))
	}
}
