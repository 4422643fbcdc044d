package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/packet"
	"cygnet/nhrpd/wording"
)

// monitor shows the NHRP packets that come and go until it is interrupted.
func monitor(in *invocation, _ string) error {
	if in.kind != "" {
		if _, err := packet.TypeNamed(in.kind); err != nil {
			return usagef("%v", err)
		}
	}
	stream, err := api.Dial(in.socket).Monitor(in.ctx, api.MonitorQuery{
		Peer: in.peer, Interface: in.iface, Type: in.kind,
	})
	switch {
	case in.ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("monitor: %w", err)
	}
	show, file := in.showPacket, (*os.File)(nil)
	if in.file != "" {
		if file, err = createCapture(in.file); err != nil {
			return fmt.Errorf("monitor: %w", err)
		}
		defer file.Close()
		show = func(m *api.Monitored) error {
			_, err := file.Write(pcapRecord(m))
			return err
		}
	}
	packets, lost := 0, uint64(0)
	err = stream.Read(func(m *api.Monitored) error {
		packets, lost = packets+1, lost+m.Lost
		return show(m)
	})
	if err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	if !in.json {
		in.printf("%s%s\n", wording.Packets(uint64(packets)), lostText(lost))
	}
	if file != nil {
		return file.Close()
	}
	return nil
}

// createCapture creates a pcap file without packets. Its owner alone may read it: it tells who has
// which address.
func createCapture(name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(pcapHeader()); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// lostText says how many packets were lost; empty if none was.
func lostText(lost uint64) string {
	if lost == 0 {
		return ""
	}
	return fmt.Sprintf("; %d more were LOST, since they came faster than they were taken", lost)
}

// showPacket writes a packet at once, with every field, or as a line of JSON.
func (in *invocation) showPacket(m *api.Monitored) error {
	if in.json {
		return in.streamJSON(m)
	}
	var b strings.Builder
	if m.Lost > 0 {
		fmt.Fprintf(&b, "%s LOST\n", wording.Packets(m.Lost))
	}
	way := "in  from"
	if m.Out {
		way = "out to  "
	}
	who := wording.At(m.NBMA, m.Mark).String()
	if m.Identity != "" {
		who += " (" + m.Identity + ")"
	}
	fmt.Fprintf(&b, "%s %s %s %s: %s\n", m.At.Format("15:04:05.000000"), m.Interface, way,
		clean(who), clean(m.Verdict))
	for _, line := range packetLines(m.Data) {
		fmt.Fprintf(&b, "    %s\n", clean(line))
	}
	_, err := in.stdout.Write([]byte(b.String()))
	return err
}

// packetLines returns every field of an NHRP packet in words.
func packetLines(data []byte) []string {
	var p packet.Packet
	if err := p.Parse(data); err != nil {
		return malformedLines(data, &p, err)
	}
	lines := headerLines(&p, len(data))
	switch p.Type {
	case packet.ErrorIndication:
		lines = append(lines, fmt.Sprintf("error %d, %s, at byte %d of the packet it is about",
			p.ErrorCode, p.ErrorCode, p.ErrorOffset))
		lines = append(lines, quotedLines(p.Quoted)...)
	case packet.TrafficIndication:
		lines = append(lines, innerLine(p.Quoted))
	}
	for i := range p.CIEs {
		lines = append(lines, "CIE: "+cieText(&p.CIEs[i]))
	}
	for i := range p.Extensions {
		lines = append(lines, extensionLines(&p.Extensions[i])...)
	}
	return lines
}

// headerLines returns the fields of a packet's header, with the packet's size.
func headerLines(p *packet.Packet, size int) []string {
	return []string{
		fmt.Sprintf("%s, %d bytes, hop count %d%s%s", p.Type, size, p.HopCount, requestText(p),
			flagsText(p)),
		fmt.Sprintf("source %s at %s%s, destination %s", orDash(p.SourceProtocol),
			orDash(p.SourceNBMA), subaddress(p.SourceSubaddress), orDash(p.DestProtocol)),
	}
}

// mostDumped is how many bytes of a malformed packet are shown. A header with IPv6 addresses has
// 76.
const mostDumped = 96

// malformedLines says what is wrong with a packet. The lines have the header as far as it could be
// read, and the first bytes of the packet as they are.
func malformedLines(data []byte, p *packet.Packet, err error) []string {
	at := ""
	if fault := (*packet.ParseError)(nil); errors.As(err, &fault) {
		at = fmt.Sprintf(" at byte %d", fault.Offset)
	}
	lines := []string{fmt.Sprintf("%d bytes, MALFORMED%s: %v", len(data), at, err)}
	switch {
	case p.SourceNBMA.IsValid():
		lines = append(lines, headerLines(p, len(data))...)
	case p.Type != 0:
		lines = append(lines, p.Type.String())
	}
	for n := 0; n < min(len(data), mostDumped); n += mostShown {
		lines = append(lines, fmt.Sprintf("byte %d: %x", n, data[n:min(n+mostShown, len(data))]))
	}
	return lines
}

// requestText names the request ID, which indications do not have.
func requestText(p *packet.Packet) string {
	if p.Type == packet.ErrorIndication || p.Type == packet.TrafficIndication {
		return ""
	}
	return fmt.Sprintf(", request ID %08x", p.RequestID)
}

// flagNames has the flags of each type of message, in the order of their bits.
var flagNames = map[packet.Type][]struct {
	flag packet.Flags
	name string
}{
	packet.ResolutionRequest: {
		{packet.ResolutionRouter, "router"}, {packet.ResolutionAuthoritative, "authoritative"},
		{packet.ResolutionDestStable, "stable destination"}, {packet.ResolutionUnique, "unique"},
		{packet.ResolutionSourceStable, "stable source"}, {packet.FlagNAT, "NAT"},
	},
	packet.RegistrationRequest: {
		{packet.RegistrationUnique, "unique"}, {packet.FlagNAT, "NAT"},
	},
	packet.PurgeRequest: {{packet.PurgeNoReply, "no reply"}, {packet.FlagNAT, "NAT"}},
}

// flagsText names the flags that are set. Bits without a name are shown as a number.
func flagsText(p *packet.Packet) string {
	of := p.Type
	if of.IsReply() {
		of-- // each reply follows its request, and has the same flags
	}
	var names []string
	rest := p.Flags
	for _, f := range flagNames[of] {
		if p.Flags&f.flag != 0 {
			names = append(names, f.name)
			rest &^= f.flag
		}
	}
	if rest != 0 {
		names = append(names, fmt.Sprintf("%#04x", uint16(rest)))
	}
	if len(names) == 0 {
		return ""
	}
	return ", flags: " + strings.Join(names, ", ")
}

func subaddress(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return fmt.Sprintf(" subaddress %x", b)
}

// orDash returns an address, or "-" if there is none.
func orDash(a netip.Addr) string { return wording.Or(a, "-") }

func cieText(c *packet.CIE) string {
	return fmt.Sprintf("%s at %s%s, prefix length %d, code %d (%s), MTU %d, holding time %d s, "+
		"preference %d", orDash(c.Protocol), orDash(c.NBMA), subaddress(c.NBMASubaddress),
		c.PrefixLength, c.Code, c.Code, c.MTU, c.HoldingTime, c.Preference)
}

func extensionLines(e *packet.Extension) []string {
	text := "extension " + e.Type.String()
	if e.Compulsory {
		text += " (compulsory)"
	}
	switch {
	case e.Type == packet.ExtensionAuthentication:
		return []string{text + fmt.Sprintf(": %d bytes, not shown", len(e.Data))}
	case len(e.Data) > mostShown:
		return []string{text + fmt.Sprintf(": %d bytes, %x…", len(e.Data), e.Data[:mostShown])}
	case len(e.Data) > 0:
		return []string{text + fmt.Sprintf(": %x", e.Data)}
	case len(e.CIEs) == 0:
		return []string{text + ": empty"}
	}
	lines := []string{text + ":"}
	for i := range e.CIEs {
		lines = append(lines, "  "+cieText(&e.CIEs[i]))
	}
	return lines
}

// mostShown is how many bytes of an extension, or of a malformed packet in one line, are shown.
const mostShown = 32

// quotedLines describes the packet that an Error Indication is about, which may be cut off.
func quotedLines(data []byte) []string {
	var p packet.Packet
	if err := p.ParseQuoted(data); err != nil && p.Type == 0 {
		return []string{fmt.Sprintf("about %d bytes that are no NHRP packet", len(data))}
	}
	return []string{fmt.Sprintf("about a %s%s, source %s at %s, destination %s", p.Type,
		requestText(&p), orDash(p.SourceProtocol), orDash(p.SourceNBMA), orDash(p.DestProtocol))}
}

// innerLine describes the data packet that a Traffic Indication quotes.
func innerLine(data []byte) string {
	inner, err := packet.ParseInner(data)
	if err != nil {
		return fmt.Sprintf("about %d bytes that are no IP packet", len(data))
	}
	return fmt.Sprintf("about a packet from %s to %s, of which it quotes %d bytes", inner.Source,
		inner.Dest, len(data))
}

// unspecified returns the address that stands for an absent one of the family of another.
func unspecified(like netip.Addr) netip.Addr {
	if like.Is6() {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}
