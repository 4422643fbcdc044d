package vici

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// SA is an IKE_SA of one of our connections with its CHILD_SAs, as charon told it last. Counters are as fresh as the last
// comparison, at most a minute old.
type SA struct {
	Interface    string
	Connection   string // the name of the connection that charon filed it under: a peer's or the template's
	ID           uint32 // charon's unique id, for terminate
	State        string // charon's word at the time
	LocalHost    netip.Addr
	RemoteHost   netip.Addr // as this end sees it: after NAT
	RemotePort   uint16
	LocalID      string
	RemoteID     string // what it proved: its IKE identity, or after EAP the one of that
	remoteIKE    string // its IKE identity
	Initiator    bool   // this end initiated the IKE_SA
	InitiatorSPI uint64
	ResponderSPI uint64 // 0: the peer has not answered yet
	LocalNAT     bool   // this end is behind NAT
	RemoteNAT    bool   // the peer is behind NAT
	Encryption   string // of the IKE_SA, such as AES_GCM_16-128 with CURVE_25519
	Group        string
	Established  time.Time // zero: not known
	Rekey        time.Time // when the IKE_SA is rekeyed; zero: not known
	Children     []Child

	asOf uint64 // the serial number of the last event before charon told it
}

// Child is a CHILD_SA: the pair of ESP SAs.
type Child struct {
	Name       string
	ID         uint32
	ReqID      uint32
	State      string
	Mode       string // TRANSPORT or TUNNEL
	Encap      bool   // in UDP, because of NAT
	SPIIn      uint32
	SPIOut     uint32
	Encryption string
	BytesIn    uint64
	BytesOut   uint64
	PacketsIn  uint64
	PacketsOut uint64
	CarriedIn  uint64 // bytes of those that it took the place of, since the IKE_SA is known
	CarriedOut uint64
	Installed  time.Time
	Rekey      time.Time
	LocalTS    []string
	RemoteTS   []string

	// Mark selects this pair of ESP SAs among several with equal addresses, in both directions: packets that come through it carry
	// it, packets that shall go into it must. 0: it has none.
	Mark uint32
}

// Key names the peer that an SA is with.
func (s *SA) Key() Key {
	if mark := s.Mark(); mark != 0 {
		return Key{Interface: s.Interface, Mark: mark}
	}
	return Key{Interface: s.Interface, NBMA: s.RemoteHost}
}

// Mark is what tells the SA from others with the same address, 0 where nothing does: that of its newest child, the one that the peer
// sends through. A rekeyed child keeps its mark. Marks of a site's own, which say nothing of the peer, do not count.
func (s *SA) Mark() uint32 {
	if !marking(s.Connection) {
		return 0
	}
	var newest Child
	for _, c := range s.Children {
		if c.ID >= newest.ID {
			newest = c
		}
	}
	return newest.Mark
}

// established tells an IKE_SA that stands from one that is being negotiated or taken down.
func (s *SA) established() bool { return s.State == "ESTABLISHED" || s.State == "REKEYING" }

// replaced tells an IKE_SA that was rekeyed: another one has its children, and who rekeyed it deletes it.
func (s *SA) replaced() bool { return s.State == "REKEYED" }

// halfOpen tells an IKE_SA that this end is negotiating.
func (s *SA) halfOpen() bool { return s.Initiator && !s.established() && !s.replaced() }

// peer is what IKE proved about the other end.
func (s *SA) peer() Peer {
	return Peer{Interface: s.Interface, NBMA: s.RemoteHost, Mark: s.Mark(), Identity: s.RemoteID, Initiator: s.Initiator,
		LocalNAT: s.LocalNAT, RemoteNAT: s.RemoteNAT}
}

// sections gives a message's subsections in order.
func sections(m *govici.Message) (names []string, bodies []*govici.Message) {
	for _, key := range m.Keys() {
		if body, ok := m.Get(key).(*govici.Message); ok {
			names, bodies = append(names, key), append(bodies, body)
		}
	}
	return names, bodies
}

// parseSA reads the section of an IKE_SA; its interface is that of the connection's name, if it is one of ours. Those without an id or
// remote host are not ok.
func parseSA(name string, m *govici.Message, now time.Time) (*SA, bool) {
	iface, _, _ := parseName(name)
	sa := &SA{
		Interface: iface, Connection: name,
		ID:         uint32(number(m, "uniqueid", 10)),
		State:      text(m, "state"),
		LocalHost:  address(m, "local-host"),
		RemoteHost: address(m, "remote-host"),
		RemotePort: uint16(number(m, "remote-port", 10)),
		LocalID:    text(m, "local-id"), RemoteID: text(m, "remote-id"),
		Initiator:    text(m, "initiator") == "yes",
		InitiatorSPI: number(m, "initiator-spi", 16), ResponderSPI: number(m, "responder-spi", 16),
		LocalNAT: text(m, "nat-local") == "yes", RemoteNAT: text(m, "nat-remote") == "yes",
		Encryption: algorithm(m), Group: text(m, "dh-group"),
		Established: since(m, "established", now, -1), Rekey: since(m, "rekey-time", now, 1),
	}
	sa.remoteIKE = sa.RemoteID
	if eap := text(m, "remote-eap-id"); eap != "" {
		sa.RemoteID = eap
	}
	if sa.ID == 0 || !sa.RemoteHost.IsValid() {
		return nil, false
	}
	if children, ok := m.Get("child-sas").(*govici.Message); ok {
		_, bodies := sections(children)
		for _, body := range bodies {
			// One that was rekeyed stays for some seconds, for packets under way, and is none any more.
			if c := parseChild(body, now); c.State != "DELETED" {
				sa.Children = append(sa.Children, c)
			}
		}
		sa.Children = withoutReplaced(sa.Children)
	}
	return sa, true
}

// withoutReplaced leaves out those that a newer child has taken the place of, while charon and the peer agree on their end.
func withoutReplaced(children []Child) []Child {
	var newest uint32
	for _, c := range children {
		newest = max(newest, c.ID)
	}
	return slices.DeleteFunc(children, func(c Child) bool { return c.State == "REKEYED" && c.ID < newest })
}

func parseChild(m *govici.Message, now time.Time) Child {
	return Child{
		Name: text(m, "name"), ID: uint32(number(m, "uniqueid", 10)), ReqID: uint32(number(m, "reqid", 10)),
		State: text(m, "state"), Mode: text(m, "mode"), Encap: text(m, "encap") == "yes",
		SPIIn: uint32(number(m, "spi-in", 16)), SPIOut: uint32(number(m, "spi-out", 16)), Encryption: algorithm(m),
		BytesIn: number(m, "bytes-in", 10), BytesOut: number(m, "bytes-out", 10),
		PacketsIn: number(m, "packets-in", 10), PacketsOut: number(m, "packets-out", 10),
		Installed: since(m, "install-time", now, -1), Rekey: since(m, "rekey-time", now, 1),
		LocalTS: list(m, "local-ts"), RemoteTS: list(m, "remote-ts"),
		Mark: commonMark(m),
	}
}

// commonMark is the mark that a child has for both directions. With another one for each it cannot be told by what it receives.
func commonMark(m *govici.Message) uint32 {
	in, out := uint32(number(m, "mark-in", 16)), uint32(number(m, "mark-out", 16))
	if in != out {
		return 0
	}
	return in
}

func text(m *govici.Message, key string) string {
	s, _ := m.Get(key).(string)
	return s
}

func list(m *govici.Message, key string) []string {
	l, _ := m.Get(key).([]string)
	return l
}

func number(m *govici.Message, key string, base int) uint64 {
	n, err := strconv.ParseUint(text(m, key), base, 64)
	if err != nil {
		return 0
	}
	return n
}

func address(m *govici.Message, key string) netip.Addr {
	a, err := netip.ParseAddr(text(m, key))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

// since turns a number of seconds before (sign -1) or after now into a time.
func since(m *govici.Message, key string, now time.Time, sign time.Duration) time.Time {
	n, err := strconv.ParseInt(text(m, key), 10, 32)
	if err != nil {
		return time.Time{}
	}
	return now.Add(sign * time.Duration(n) * time.Second)
}

func algorithm(m *govici.Message) string {
	alg := text(m, "encr-alg")
	if size := text(m, "encr-keysize"); size != "" {
		alg += "-" + size
	}
	return alg
}
