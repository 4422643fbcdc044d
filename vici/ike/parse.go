package ike

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/message"
)

// Parse reads the section of an IKE_SA from an event or a list; name is the section's, which is
// that of the connection. It does not fill in Interface and SelectedByMark, which depend on what
// the name means. ok is false for a section without an id or without a remote host.
func Parse(name string, m *govici.Message, now time.Time) (sa *SA, ok bool) {
	sa = &SA{
		Connection:   name,
		ID:           uint32(message.Number(m, "uniqueid", 10)),
		State:        message.Text(m, "state"),
		LocalHost:    message.Address(m, "local-host"),
		RemoteHost:   message.Address(m, "remote-host"),
		RemotePort:   uint16(message.Number(m, "remote-port", 10)),
		LocalID:      message.Text(m, "local-id"),
		RemoteID:     message.Text(m, "remote-id"),
		RemoteIKE:    message.Text(m, "remote-id"),
		Initiator:    message.Text(m, "initiator") == "yes",
		InitiatorSPI: message.Number(m, "initiator-spi", 16),
		ResponderSPI: message.Number(m, "responder-spi", 16),
		LocalNAT:     message.Text(m, "nat-local") == "yes",
		RemoteNAT:    message.Text(m, "nat-remote") == "yes",
		Encryption:   algorithm(m),
		Group:        message.Text(m, "dh-group"),
		Established:  message.Time(m, "established", now, -1),
		Rekey:        message.Time(m, "rekey-time", now, 1),
	}
	if eap := message.Text(m, "remote-eap-id"); eap != "" {
		sa.RemoteID = eap
	}
	if sa.ID == 0 || !sa.RemoteHost.IsValid() {
		return nil, false
	}
	if children, ok := message.Section(m, "child-sas"); ok {
		_, bodies := message.Sections(children)
		for _, body := range bodies {
			// charon lists a deleted child for some seconds, for packets still in flight.
			if c := ParseChild(body, now); c.State != "DELETED" {
				sa.Children = append(sa.Children, c)
			}
		}
		sa.Children = withoutReplaced(sa.Children)
	}
	return sa, true
}

// withoutReplaced leaves out the rekeyed children that have a newer one beside them. They exist
// until charon and the peer have agreed on their end.
func withoutReplaced(children []Child) []Child {
	var newest uint32
	for _, c := range children {
		newest = max(newest, c.ID)
	}
	return slices.DeleteFunc(children, func(c Child) bool {
		return c.State == "REKEYED" && c.ID < newest
	})
}

// ParseChild reads the section of a CHILD_SA.
func ParseChild(m *govici.Message, now time.Time) Child {
	return Child{
		Name:       message.Text(m, "name"),
		ID:         uint32(message.Number(m, "uniqueid", 10)),
		ReqID:      uint32(message.Number(m, "reqid", 10)),
		State:      message.Text(m, "state"),
		Mode:       message.Text(m, "mode"),
		Encap:      message.Text(m, "encap") == "yes",
		SPIIn:      uint32(message.Number(m, "spi-in", 16)),
		SPIOut:     uint32(message.Number(m, "spi-out", 16)),
		Encryption: algorithm(m),
		BytesIn:    message.Number(m, "bytes-in", 10),
		BytesOut:   message.Number(m, "bytes-out", 10),
		PacketsIn:  message.Number(m, "packets-in", 10),
		PacketsOut: message.Number(m, "packets-out", 10),
		Installed:  message.Time(m, "install-time", now, -1),
		Rekey:      message.Time(m, "rekey-time", now, 1),
		LocalTS:    message.List(m, "local-ts"),
		RemoteTS:   message.List(m, "remote-ts"),
		Mark:       commonMark(m),
	}
}

// commonMark returns the mark that a child has for both directions; 0 if it has none, or one for
// each: then packets that came through it do not tell which one leads back.
func commonMark(m *govici.Message) uint32 {
	in, out := uint32(message.Number(m, "mark-in", 16)), uint32(message.Number(m, "mark-out", 16))
	if in != out {
		return 0
	}
	return in
}

// algorithm returns a cipher as charon's lists name it, such as AES_GCM_16-256.
func algorithm(m *govici.Message) string {
	alg := message.Text(m, "encr-alg")
	if size := message.Text(m, "encr-keysize"); size != "" {
		alg += "-" + size
	}
	return alg
}

// Follow returns traffic selectors as charon changes them when a host moves from one address to
// another: those for that host alone go with it. The list given stays as it is.
func Follow(selectors []string, from, to netip.Addr) []string {
	moved := slices.Clone(selectors)
	for i, s := range moved {
		host := netip.PrefixFrom(from, from.BitLen()).String()
		if rest, ok := strings.CutPrefix(s, host); ok {
			moved[i] = netip.PrefixFrom(to, to.BitLen()).String() + rest
		}
	}
	return moved
}
