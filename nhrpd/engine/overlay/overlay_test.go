package overlay

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// knownPeers is a table of peers as this package sees it: what it lists has an SA.
type knownPeers map[peerid.ID]Holder

func (k knownPeers) Outer(id peerid.ID) netip.Addr { return id.Address() }
func (k knownPeers) HolderAt(id peerid.ID) Holder {
	if h, ok := k[id]; ok {
		return h
	}
	return Holder{Peer: id}
}
func (k knownPeers) Identity(id peerid.ID) string { return k[id].Identity }
func (k knownPeers) Secured(id peerid.ID) bool    { _, ok := k[id]; return ok }
func (k knownPeers) SentTo(peerid.ID)             {}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// hub returns the interface of a hub at 10.255.0.1, with SAs with two spokes.
func hub(change ...func(*InterfaceConfig)) *Interface {
	cfg := InterfaceConfig{
		Name:        "gre1",
		Address:     netip.MustParsePrefix("10.255.0.1/24"),
		HoldingTime: 10 * time.Minute,
		MTU:         1400,
		Limits: Limits{Bindings: 20, Shortcuts: 10, Answers: 10, Indications: 10, Errors: 8,
			Requests: 10, Transit: 10},
	}
	for _, f := range change {
		f(&cfg)
	}
	r := NewRouter(rand.New(rand.NewPCG(1, 1)), 1)
	ifc := NewInterface(r, knownPeers{
		peerid.At(addr("192.0.2.11")): {Identity: "spoke1"},
		peerid.At(addr("192.0.2.12")): {Identity: "spoke2"},
	})
	ifc.Configure(cfg)
	ifc.Local = addr("192.0.2.1")
	r.Enter(start, &output.Output{})
	return ifc
}

// later lets time pass, with what is due then.
func (ifc *Interface) later(d time.Duration) {
	ifc.Enter(ifc.Now.Add(d), ifc.Out)
	ifc.Timers.Advance(ifc.Now)
}

// dropped returns how often something was dropped for a reason.
func (ifc *Interface) dropped(why DropReason) uint64 { return ifc.Stats().Dropped[why.String()] }

// request returns a Resolution Request of spoke1, as it came from spoke1.
func request(t testing.TB, ifc *Interface, change ...func(*packet.Packet)) *Message {
	t.Helper()
	p := packet.Packet{
		Type:           packet.ResolutionRequest,
		HopCount:       HopCount,
		RequestID:      7,
		SourceNBMA:     addr("192.0.2.11"),
		SourceProtocol: addr("10.255.0.11"),
		DestProtocol:   addr("172.16.2.10"),
		CIEs:           []packet.CIE{{HoldingTime: 600}},
	}
	for _, f := range change {
		f(&p)
	}
	data, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ifc.Parse(peerid.At(addr("192.0.2.11")), data)
	if err != nil {
		t.Fatal(err)
	}
	return &m
}
