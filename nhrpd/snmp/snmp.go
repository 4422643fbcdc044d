// Package snmp shows the daemon's state as the NHRP MIB (RFC 2677) has it, to Debian's snmpd, which
// starts this package's Server as a program of its own (pass_persist in snmpd.conf(5)). Nothing can
// be changed by it.
//
// [NHRP] makes the objects from a status, without any input or output. [Server] asks the daemon for
// the status, and answers snmpd. [Figures] are what the MIB has no objects for.
package snmp

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/api"
)

// root is what the identifiers of all objects begin with: nhrpObjects.
var root = OID{1, 3, 6, 1, 2, 1, 71, 1}

// Values of enumerations in the MIB and in what it imports.
const (
	familyOther = 0 // of AddressFamilyNumbers
	familyIPv4  = 1
	familyIPv6  = 2

	cacheRegistered = 2 // of nhrpCacheType
	cacheResolved   = 3
	cacheConfigured = 6

	cacheIncomplete = 1 // of nhrpCacheState
	cacheAck        = 2
	cacheNak        = 3

	registrationOther = 1 // of nhrpClientRegState
	registrationSent  = 2
	registrationAck   = 3
	registrationNak   = 4

	storageVolatile = 2 // of StorageType
	storageReadOnly = 5

	rowActive = 1 // of RowStatus
)

// The least nhrpCacheIndex of each kind of row; see cacheIndex.
const (
	hostIndex     = 1
	prefixIndex   = 1 << 10
	shortcutIndex = 2 << 10
)

// families is how many indexes of clients and servers there are for each interface.
const families = 2

// mib collects the rows of the tables. The names are those of the MIB.
type mib struct {
	now                                    time.Time
	next, cache, client, registration, nhs table
	clientStat, server, serverCache, nhc   table
	serverStat                             table

	counters               *api.Counters
	hasClients, hasServers bool // anywhere on this router
}

// NHRP returns the objects of the NHRP MIB for a status.
//
// Each overlay address of an interface that has next hop servers is a client. Each overlay address
// of an interface that has registered clients, or no next hop server, is a server. Interfaces
// without a device have no objects, because the MIB numbers them by their devices.
func NHRP(s *api.Status) *Tree {
	m := newMIB(s)
	for i := range s.Interfaces {
		ifc := &s.Interfaces[i]
		m.hasClients = m.hasClients || ifc.Index > 0 && isClient(ifc)
		m.hasServers = m.hasServers || ifc.Index > 0 && isServer(ifc)
	}
	for i := range s.Interfaces {
		if s.Interfaces[i].Index > 0 {
			m.addInterface(&s.Interfaces[i])
		}
	}
	return newTree(&m.next, &m.cache, &m.client, &m.registration, &m.nhs, &m.clientStat,
		&m.server, &m.serverCache, &m.nhc, &m.serverStat)
}

// newMIB returns the tables without rows, other than that of nhrpNextIndex: 0 says that no row can
// be made.
func newMIB(s *api.Status) *mib {
	at := func(number ...uint32) OID { return root.with(number...) }
	m := &mib{
		now:          s.Now,
		counters:     &s.Counters,
		next:         table{entry: at(1), columns: []uint32{1}},
		cache:        table{entry: at(1, 2, 1), columns: columns(4, 16)},
		client:       table{entry: at(2, 1, 1), columns: columns(2, 6, 11, 12, 14, 15)},
		registration: table{entry: at(2, 2, 1), columns: columns(3, 4)},
		nhs:          table{entry: at(2, 3, 1), columns: columns(2, 8)},
		clientStat:   table{entry: at(2, 4, 1), columns: columns(7, 16, 1)},
		server:       table{entry: at(3, 1, 1), columns: columns(2, 8)},
		serverCache:  table{entry: at(3, 2, 1), columns: columns(1, 2)},
		nhc:          table{entry: at(3, 3, 1), columns: columns(2, 9)},
		serverStat:   table{entry: at(3, 4, 1), columns: columns(7, 15, 1, 33)},
	}
	m.next.add(OID{0}, gauge(0))
	return m
}

// columns returns the numbers from first to last, and some others, in order.
func columns(first, last uint32, others ...uint32) []uint32 {
	all := others
	for n := first; n <= last; n++ {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

func isClient(i *api.Interface) bool { return len(i.NHS) > 0 }
func isServer(i *api.Interface) bool { return i.Clients() > 0 || len(i.NHS) == 0 }

func (m *mib) addInterface(i *api.Interface) {
	for k := range i.Bindings {
		m.addBinding(i, &i.Bindings[k])
	}
	for k := range i.Shortcuts {
		m.addShortcut(i, &i.Shortcuts[k])
	}
	addresses := i.Addresses
	if len(addresses) == 0 && i.Address.IsValid() {
		addresses = []netip.Prefix{i.Address}
	}
	for _, a := range addresses {
		index := OID{uint32(i.Index)*families + family(a.Addr()) - familyIPv4}
		if isClient(i) {
			m.addClient(i, index, a.Addr())
		}
		if isServer(i) {
			m.addServer(i, index, a.Addr())
		}
	}
}

// cacheIndex returns the index of a row of the cache: the address, the interface, and a number that
// is the same for the same row at all times, and that differs for all rows of one address. kind is
// the least number of such rows.
func cacheIndex(i *api.Interface, p netip.Prefix, kind uint32) OID {
	index := OID{family(p.Addr())}.with(address(p.Addr())...)
	return index.with(uint32(i.Index), kind+uint32(p.Bits()))
}

// addBinding adds the rows of a client or a static map: one for its address, and one for each
// network that leads to it.
func (m *mib) addBinding(i *api.Interface, b *api.Binding) {
	kind, storage := integer(cacheRegistered), integer(storageVolatile)
	if b.Static {
		kind, storage = integer(cacheConfigured), integer(storageReadOnly)
	}
	valid, left := m.holding(b.Expires)
	add := func(p netip.Prefix, first uint32, unique bool) {
		index := cacheIndex(i, p, first)
		m.cache.add(index, integer(uint32(p.Bits())), octets(b.Protocol), integer(family(b.NBMA)),
			octets(b.NBMA), octets(netip.Addr{}), kind, integer(cacheAck), valid, left,
			integer(uint32(b.MTU)), integer(0), storage, integer(rowActive))
		m.serverCache.add(index, truth(true), truth(unique))
	}
	add(netip.PrefixFrom(b.Protocol, b.Protocol.BitLen()), hostIndex, b.Unique)
	for _, p := range b.Prefixes {
		add(p, prefixIndex, false)
	}
}

// addShortcut adds the row of a resolution and what came of it.
func (m *mib) addShortcut(i *api.Interface, s *api.Shortcut) {
	state := cacheAck
	switch s.State {
	case api.ShortcutResolving:
		state = cacheIncomplete
	case api.ShortcutImpossible:
		state = cacheNak
	}
	valid, left := m.holding(s.Expires)
	m.cache.add(cacheIndex(i, s.Prefix, shortcutIndex), integer(uint32(s.Prefix.Bits())),
		octets(s.NextHop), integer(family(s.NBMA)), octets(s.NBMA), octets(netip.Addr{}),
		integer(cacheResolved), integer(uint32(state)), valid, left, integer(uint32(s.MTU)),
		integer(0), integer(storageVolatile), integer(rowActive))
}

// holding returns whether a row ends at some time, and after how many seconds.
func (m *mib) holding(expires time.Time) (valid, seconds Value) {
	if expires.IsZero() {
		return truth(false), gauge(0)
	}
	left := max(0, expires.Sub(m.now)/time.Second)
	return truth(true), gauge(uint64(min(left, math.MaxUint16)))
}

// addClient adds the rows of one of this router's own addresses at its next hop servers.
func (m *mib) addClient(i *api.Interface, index OID, own netip.Addr) {
	var hold Value
	for n := range i.NHS {
		for _, r := range i.NHS[n].Each() {
			if !registers(i, &r, own) {
				continue
			}
			if hold.Kind == "" && r.Registered.Before(r.Expires) {
				hold = gauge(uint64(min(r.Expires.Sub(r.Registered)/time.Second, math.MaxUint16)))
			}
			m.addNHS(index.with(uint32(n+1)), &r)
		}
	}
	m.client.add(index, integer(family(own)), octets(own), integer(family(i.NBMA)), octets(i.NBMA),
		octets(netip.Addr{}), gauge(uint64(min(i.MTU, math.MaxUint16))), hold,
		integer(storageReadOnly), integer(rowActive))
	m.countClient(index)
}

// registers reports whether a registration is that of an own address. An earlier version of the
// daemon has the first address's alone, and does not say so.
func registers(i *api.Interface, n *api.NHS, own netip.Addr) bool {
	if len(n.Registrations) == 0 {
		return own == i.Address.Addr()
	}
	return n.Registrations[0].Address == own
}

func (m *mib) addNHS(index OID, n *api.NHS) {
	state := registrationOther
	switch n.State {
	case api.NHSRegistering:
		state = registrationSent
	case api.NHSRegistered:
		state = registrationAck
	case api.NHSRefused:
		state = registrationNak
	}
	m.registration.add(index, integer(uint32(state)), integer(rowActive))
	m.nhs.add(index, integer(family(n.Protocol)), octets(n.Protocol), integer(family(n.NBMA)),
		octets(n.NBMA), octets(netip.Addr{}), truth(n.Use == api.NHSUseInUse), integer(rowActive))
}

// addServer adds the rows of one of this router's own addresses as a next hop server.
func (m *mib) addServer(i *api.Interface, index OID, own netip.Addr) {
	m.server.add(index, integer(family(own)), octets(own), integer(family(i.NBMA)), octets(i.NBMA),
		octets(netip.Addr{}), integer(storageReadOnly), integer(rowActive))
	numbers := clientNumbers{}
	for k := range i.Bindings {
		b := &i.Bindings[k]
		if b.Protocol.Is4() != own.Is4() {
			continue
		}
		m.nhc.add(index.with(numbers.of(b.Protocol)), integer(uint32(b.Protocol.BitLen())),
			integer(family(b.Protocol)), octets(b.Protocol), integer(family(b.NBMA)),
			octets(b.NBMA), octets(netip.Addr{}), truth(b.Secured), integer(rowActive))
	}
	m.countServer(index)
}

// clientNumbers gives clients numbers: the last 32 bits of their addresses, or the next number that
// no other client has. The bindings come in the order of their addresses, so that the same clients
// get the same numbers.
type clientNumbers map[uint32]bool

func (c clientNumbers) of(a netip.Addr) uint32 {
	n := uint32(0)
	for _, b := range a.AsSlice() {
		n = n<<8 | uint32(b)
	}
	for n == 0 || c[n] {
		n++
	}
	c[n] = true
	return n
}

// countClient adds the counters of the daemon. It counts for all of its interfaces together, so
// that they are in the first client's row alone. What a server sends and receives as well is left
// out on a router that is both, because the daemon counts it together.
func (m *mib) countClient(index OID) {
	if len(m.clientStat.rows) > 0 {
		return
	}
	received, sent := m.counters.Received, m.counters.Sent
	alone := func(n uint64) Value {
		if m.hasServers {
			return Value{}
		}
		return counter(n)
	}
	cells := []Value{alone(sent["resolution request"]), counter(sent["registration request"])}
	cells = append(cells, registrations(m.counters.Registered)...)
	m.clientStat.add(index, append(cells, alone(received["purge request"]),
		alone(sent["purge request"]), alone(received["purge reply"]), alone(sent["purge reply"]),
		alone(sent["error indication"]))...)
}

// countServer is countClient for the first server's row.
func (m *mib) countServer(index OID) {
	if len(m.serverStat.rows) > 0 {
		return
	}
	received, sent := m.counters.Received, m.counters.Sent
	alone := func(n uint64) Value {
		if m.hasClients {
			return Value{}
		}
		return counter(n)
	}
	cells := []Value{counter(received["resolution request"]),
		counter(received["registration request"])}
	cells = append(cells, registrations(m.counters.Served)...)
	m.serverStat.add(index, append(cells, alone(received["purge request"]),
		alone(sent["purge request"]), alone(received["purge reply"]), alone(sent["purge reply"]),
		alone(sent["resolution request"]))...)
}

// results has the results of registrations that the MIB counts, in its order.
var results = []string{
	"success", "administratively prohibited", "insufficient resources",
	"unique internetworking layer address already registered",
}

// registrations returns how many registrations had each of the results. An earlier version of the
// daemon does not tell.
func registrations(counts map[string]uint64) []Value {
	cells := make([]Value, len(results))
	for i, result := range results {
		if counts != nil {
			cells[i] = counter(counts[result])
		}
	}
	return cells
}

// family returns the number of an address's family.
func family(a netip.Addr) uint32 {
	switch {
	case a.Is4():
		return familyIPv4
	case a.IsValid():
		return familyIPv6
	}
	return familyOther
}

func integer(n uint32) Value { return Value{Kind: Integer, Number: n} }
func gauge(n uint64) Value   { return Value{Kind: Gauge, Number: uint32(n)} }

// counter returns a counter of the MIB, which starts at 0 again after 2³².
func counter(n uint64) Value { return Value{Kind: Counter, Number: uint32(n)} }

// octets returns the bytes of an address. No address has none.
func octets(a netip.Addr) Value { return Value{Kind: Octets, Octets: string(a.AsSlice())} }

func truth(b bool) Value {
	if b {
		return integer(1)
	}
	return integer(2)
}
