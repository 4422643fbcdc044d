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

// iface is the state of one interface. An interface that has left keeps its configuration, its
// local address, the addresses of its NHSs and its record of the SAs, and does nothing.
type iface struct {
	cfg     InterfaceConfig
	left    bool
	leaving bool // left, and waits for replies to its goodbyes
	local   netip.Addr

	// known is the last valid local address, or before the first one comes, the address that was
	// saved before a restart. Our answers name that address.
	known netip.Addr

	auth packet.Extension // from cfg.Authentication

	peers map[netip.Addr]*peer // by NBMA address

	// named has the peers with peer IDs, by the outer address behind the IDs.
	named map[netip.Addr][]*peer

	// underlay is an index of the outer addresses of all peers. It is nil until the first look-up.
	underlay *rib.Trie

	held map[netip.Addr]*heldPacket // by outer source

	// separated has the NBMA addresses from which several routers were separated, and when that was
	// last.
	separated map[netip.Addr]time.Time

	nhs       []*nhs
	bindings  map[netip.Addr]*binding // by overlay address
	uncertain uncertain

	// owners has the owners of overlay addresses whose binding ended because the SA had gone, by
	// overlay address.
	owners map[netip.Addr]*owner

	announced  map[netip.Prefix]*announced
	neighbors  map[netip.Addr]*neighbor   // by overlay address
	shortcuts  map[netip.Prefix]*shortcut // unanswered ones by host prefix
	requests   map[uint32]*shortcut       // by the ID of the Resolution Request that is out
	unresolved map[netip.Addr]unresolved  // destinations not to ask for again for a while
	relays     map[netip.Addr]*relay      // by overlay address

	// unresolvedSweep is when the engine next looks for expired destinations in unresolved, if that
	// table is full. None of them expires earlier.
	unresolvedSweep time.Time

	answers map[answerKey]*answer
	askers  ratelimit.Shares[holder] // how many of the answers each router has

	away   map[holder]*away // clients that are not registered now
	awayAt rib.Trie         // by NBMA address

	addressesOf ratelimit.Shares[holder] // how many overlay addresses each router has or owns
	prefixesOf  ratelimit.Shares[holder] // how many announced prefixes each router has

	complaints complaints // mismatches with other routers; nil: none so far

	retirements uint16 // counts the peer IDs given to routers that lost theirs

	purges          map[uint32]*purge        // by request ID
	deregistrations []*purge                 // sent to the NHSs last, when the interface leaves
	admitted        map[netip.Addr]*admitted // by NBMA address
	revocations     revocations

	pools struct { // preallocated memory for what each client needs
		peers     pool[peer]
		bindings  pool[binding]
		neighbors pool[neighbor]
		admitted  pool[admitted]
	}

	poll      timers.Timer // asks when the peers were last used
	grace     timers.Timer // ends what was restored and has not been confirmed
	confirmed bool         // strongSwan has said at least once which peers have an SA

	limits limits
	quiet  quietEvents // notices kept out of the log by limits.events
	rules  authorization.Rules
}

// newInterface returns an interface with its first configuration and no other state.
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

// configure sets the configuration, and what is derived from it without changing any other state.
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

// overlay returns our own overlay address.
func (ifc *iface) overlay() netip.Addr { return ifc.cfg.Address.Addr() }

// onOverlay reports whether addr is of the same IP version as the overlay.
func (ifc *iface) onOverlay(addr netip.Addr) bool {
	return addr.IsValid() && addr.Is4() == ifc.overlay().Is4()
}

// secured reports whether packets may go to and come from an NBMA address: the peer there has an
// SA, or the interface requires none.
func (ifc *iface) secured(nbma netip.Addr) bool {
	if !ifc.cfg.Protected {
		return true
	}
	p := ifc.peers[nbma]
	return p != nil && p.secured
}

// public returns our NBMA address as an NHS sees it, if NAT makes it another one than we send from,
// and else the zero address. It prefers an NHS that answers: one that does not may have seen us at
// an address that we had before.
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

// behindNAT reports whether NAT is in front of us, so that other routers cannot reach us before we
// have sent something to them.
func (ifc *iface) behindNAT() bool { return ifc.public().IsValid() }

// isNHS reports whether nbma is the address in use of one of our NHSs.
func (ifc *iface) isNHS(nbma netip.Addr) bool {
	return slices.ContainsFunc(ifc.nhs, func(n *nhs) bool { return n.nbma == nbma })
}

// inOrder returns the values of a map in the order of their keys. It is for loops whose order shows
// in the output.
func inOrder[K comparable, V any](m map[K]V, compare func(K, K) int) []V {
	keys, values := slices.AppendSeq(make([]K, 0, len(m)), maps.Keys(m)), make([]V, 0, len(m))
	slices.SortFunc(keys, compare)
	for _, k := range keys {
		values = append(values, m[k])
	}
	return values
}

// inOrderIf returns those values of a map for which keep returns true, in the order of their keys.
// It sorts only those, which costs less where an event concerns few of them.
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

// interfaces returns all configured interfaces, ordered by name.
func (e *Engine) interfaces() []*iface { return inOrder(e.ifaces, cmp.Compare[string]) }

// hostPrefix returns the prefix that has only one address; the zero prefix for the zero address.
func hostPrefix(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// seconds returns a holding time as it is sent in a packet.
func seconds(d time.Duration) uint16 {
	return uint16(min(max(d/time.Second, 0), 65535))
}
