package engine

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/ratelimit"
	"cygnet/nhrpd/engine/rib"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// iface is the state of one interface. One that has left keeps its configuration, its local
// address, the addresses of its NHSs and what it knows of SAs, and does nothing.
type iface struct {
	cfg     InterfaceConfig
	left    bool
	leaving bool // left, and waits for those who were told
	local   netip.Addr
	known   netip.Addr       // the local address that answers named, while there is none or before a restart
	auth    packet.Extension // from cfg.Authentication

	peers           map[netip.Addr]*peer   // by NBMA address
	named           map[netip.Addr][]*peer // those with names, by the address in whose place the names are
	underlay        *rib.Trie              // their NBMA addresses as the world sees them; nil: nobody asked yet
	held            map[netip.Addr]*heldPacket
	separated       map[netip.Addr]time.Time // when several routers at an address were told apart last
	nhs             []*nhs
	bindings        map[netip.Addr]*binding // by overlay address
	uncertain       uncertain
	owners          map[netip.Addr]*owner // by overlay address, of bindings that ended for want of an SA
	announced       map[netip.Prefix]*announced
	neighbors       map[netip.Addr]*neighbor
	shortcuts       map[netip.Prefix]*shortcut // unanswered ones as host prefixes
	requests        map[uint32]*shortcut       // by the id of the resolution request that is out
	unresolved      map[netip.Addr]unresolved  // destinations not to ask for again for a while
	relays          map[netip.Addr]*relay      // by overlay address
	unresolvedSweep time.Time                  // before it no unresolved destination of a full table has expired
	answers         map[answerKey]*answer
	askers          ratelimit.Shares[holder] // how many of the answers are one router's

	away   map[holder]*away // clients that are not registered now
	awayAt rib.Trie         // by NBMA address

	addressesOf ratelimit.Shares[holder] // how many overlay addresses are one router's: bindings and owners
	prefixesOf  ratelimit.Shares[holder] // how many announced prefixes are one router's

	complaints complaints // what does not fit with other routers; nil: nothing did so far

	retirements uint16 // counts the names that were given to those who lost theirs

	purges          map[uint32]*purge        // by request id
	deregistrations []*purge                 // sent last when the interface leaves
	admitted        map[netip.Addr]*admitted // by NBMA address
	revocations     revocations

	pools struct { // of what each client takes
		peers     pool[peer]
		bindings  pool[binding]
		neighbors pool[neighbor]
		admitted  pool[admitted]
	}

	poll      timers.Timer // asks for the peers' use
	grace     timers.Timer // ends what was restored and is not confirmed
	confirmed bool         // strongSwan said once which peers have an SA

	limits limits
	quiet  quietEvents // log events above limits.events
	rules  authorization.Rules
}

func (e *Engine) newInterface(cfg InterfaceConfig) *iface {
	room := cfg.expectedClients()
	ifc := &iface{
		peers:       make(map[netip.Addr]*peer, room),
		held:        make(map[netip.Addr]*heldPacket),
		separated:   make(map[netip.Addr]time.Time),
		bindings:    make(map[netip.Addr]*binding, room),
		owners:      make(map[netip.Addr]*owner),
		uncertain:   make(uncertain),
		announced:   make(map[netip.Prefix]*announced),
		neighbors:   make(map[netip.Addr]*neighbor, room),
		shortcuts:   make(map[netip.Prefix]*shortcut),
		requests:    make(map[uint32]*shortcut),
		unresolved:  make(map[netip.Addr]unresolved),
		relays:      make(map[netip.Addr]*relay),
		answers:     make(map[answerKey]*answer),
		askers:      make(ratelimit.Shares[holder]),
		addressesOf: make(ratelimit.Shares[holder], room),
		away:        make(map[holder]*away),
		prefixesOf:  make(ratelimit.Shares[holder]),
		purges:      make(map[uint32]*purge),
		admitted:    make(map[netip.Addr]*admitted, room),
		named:       make(map[netip.Addr][]*peer),
	}
	ifc.pools.peers = newPool[peer](room)
	ifc.pools.bindings = newPool[binding](room)
	ifc.pools.neighbors = newPool[neighbor](room)
	ifc.pools.admitted = newPool[admitted](room)
	ifc.poll.Run = func() { e.pollUse(ifc) }
	ifc.grace.Run = func() { e.endUnconfirmed(ifc) }
	ifc.quiet.tell.Run = func() { e.tellQuiet(ifc) }
	ifc.configure(cfg)
	return ifc
}

// configure sets what is only looked up when needed.
func (ifc *iface) configure(cfg InterfaceConfig) {
	if ifc.limits == (limits{}) || ifc.cfg.Limits != cfg.Limits {
		ifc.limits = newLimits(&cfg)
	}
	ifc.rules.Configure(authorization.Config{
		Protected:      cfg.Protected,
		NameAttributes: cfg.NameAttributes,
		Policy:         cfg.Policy,
		MostRemembered: cfg.Limits.Bindings + spareKeys,
	})
	ifc.auth = packet.Extension{}
	if cfg.Authentication != "" {
		ifc.auth = packet.PasswordExtension(cfg.Authentication)
	}
	ifc.cfg = cfg
}

// overlay is our own overlay address.
func (ifc *iface) overlay() netip.Addr { return ifc.cfg.Address.Addr() }

// onOverlay reports whether addr is of the overlay's address family.
func (ifc *iface) onOverlay(addr netip.Addr) bool {
	return addr.IsValid() && addr.Is4() == ifc.overlay().Is4()
}

// secured reports whether packets may go to and come from an NBMA address.
func (ifc *iface) secured(nbma netip.Addr) bool {
	if !ifc.cfg.Protected {
		return true
	}
	p := ifc.peers[nbma]
	return p != nil && p.secured
}

// public is our NBMA address as an NHS sees it, when that is not the one that we send from: behind
// NAT. An NHS that does not answer any more may have seen us at an address that we had before.
func (ifc *iface) public() netip.Addr {
	var before netip.Addr
	for _, n := range ifc.nhs {
		switch {
		case !n.public.IsValid():
		case n.usable() && n.attempts == 0:
			return n.public
		case !before.IsValid():
			before = n.public
		}
	}
	return before
}

// behindNAT reports whether others cannot start to talk to us.
func (ifc *iface) behindNAT() bool { return ifc.public().IsValid() }

// isNHS reports whether nbma is the address of an NHS in use.
func (ifc *iface) isNHS(nbma netip.Addr) bool {
	return slices.ContainsFunc(ifc.nhs, func(n *nhs) bool { return n.nbma == nbma })
}

// inOrder gives a map's values in the order of its keys, for where the order reaches the output.
func inOrder[K comparable, V any](m map[K]V, compare func(K, K) int) []V {
	keys, values := slices.AppendSeq(make([]K, 0, len(m)), maps.Keys(m)), make([]V, 0, len(m))
	slices.SortFunc(keys, compare)
	for _, k := range keys {
		values = append(values, m[k])
	}
	return values
}

// inOrderIf gives those of a map's values that keep holds for, in the order of their keys. What an
// event is not about is not sorted.
func inOrderIf[K comparable, V any](m map[K]V, compare func(K, K) int, keep func(V) bool) []V {
	var keys []K
	for k, v := range m {
		if keep(v) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compare)
	values := make([]V, 0, len(keys))
	for _, k := range keys {
		values = append(values, m[k])
	}
	return values
}

func byAddr(a, b netip.Addr) int     { return a.Compare(b) }
func byPrefix(a, b netip.Prefix) int { return a.Compare(b) }

func (e *Engine) interfaces() []*iface { return inOrder(e.ifaces, cmp.Compare[string]) }

// hostPrefix is the prefix of one address.
func hostPrefix(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// seconds is a holding time as it goes on the wire.
func seconds(d time.Duration) uint16 {
	return uint16(min(max(d/time.Second, 0), 65535))
}
