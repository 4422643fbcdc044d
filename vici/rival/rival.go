// Package rival finds connections of others, such as one for road warriors, that charon chooses for
// peers of an interface. Those peers then get SAs in tunnel mode, which they do not accept, so they
// are never secured.
package rival

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/vici/ike"
)

// Rival is somebody else's connection that charon chooses for peers of an interface.
type Rival struct {
	Interface  string
	Connection string
	Peer       netip.Addr // the last peer for which charon chose the connection
	Identity   string     // of that peer
	Last       time.Time  // when charon last chose the connection for a peer
}

// same reports whether two rivals are the same connection for the same interface.
func (r Rival) same(o Rival) bool {
	return r.Interface == o.Interface && r.Connection == o.Connection
}

const (
	lifetime      = 10 * time.Minute // how long a rival is reported after its last peer
	short         = 10 * time.Second // a peer that ends an SA within this time did not accept it
	strikes       = 2                // refused SAs of a connection that make it a rival
	maxWatched    = 256              // watched SAs, of which peers that dial in could make many
	maxRivals     = 32               // connections of administrators, so there are few
	selectorOfGRE = "[gre"           // in charon's notation of a traffic selector
)

// Watch watches the SAs of connections that are not ours. It belongs to one goroutine.
type Watch struct {
	watched map[uint32]watched // by charon's unique id of the IKE_SA
	refused map[string]int     // refused SAs, by interface and connection
}

// watched is an SA by somebody else's connection that carries GRE from a tunnel's address.
type watched struct {
	rival Rival
	since time.Time
}

// NewWatch returns a watch that has seen nothing.
func NewWatch() *Watch {
	return &Watch{watched: map[uint32]watched{}, refused: map[string]int{}}
}

// Up examines an IKE_SA of somebody else's connection when CHILD_SAs of it come up. If the peer
// dialled in and asked for GRE with a tunnel's address, the peer is probably one of that tunnel.
// ownerOf returns the interface whose tunnel has an address.
func (w *Watch) Up(sa *ike.SA, ownerOf func(netip.Addr) (string, bool), now time.Time) {
	if sa.Initiator || len(w.watched) >= maxWatched {
		return
	}
	gre := slices.ContainsFunc(sa.Children, func(c ike.Child) bool {
		return c.Mode == "TUNNEL" && slices.ContainsFunc(c.LocalTS, func(s string) bool {
			return strings.Contains(s, selectorOfGRE)
		})
	})
	if !gre {
		return
	}
	if iface, ok := ownerOf(sa.LocalHost); ok {
		w.watched[sa.ID] = watched{
			Rival{iface, sa.Connection, sa.RemoteHost, sa.RemoteID, now}, now,
		}
	}
}

// Down examines the end of an IKE_SA by somebody else's connection. A peer that closes the IKE_SA
// at once did not accept the SA. ok is true if that shows a rival.
func (w *Watch) Down(id uint32, now time.Time) (rival Rival, ok bool) {
	s, known := w.watched[id]
	delete(w.watched, id)
	if !known || now.Sub(s.since) > short {
		return Rival{}, false
	}
	key := s.rival.Interface + " " + s.rival.Connection
	if w.refused[key] == 0 && len(w.refused) >= maxRivals {
		return Rival{}, false
	}
	w.refused[key]++
	return s.rival, w.refused[key] >= strikes
}

// LinkLost forgets which SAs exist.
func (w *Watch) LinkLost() { clear(w.watched) }

// Forget forgets what rivals of an interface did. With another remote identity, charon may choose
// differently.
func (w *Watch) Forget(iface string) {
	for key := range w.refused {
		if strings.HasPrefix(key, iface+" ") {
			delete(w.refused, key)
		}
	}
}

// Add enters a rival into a list, in the place of what the list has of it. fresh is true if the
// list did not have it, or only as one of long ago.
func Add(rivals []Rival, rival Rival, now time.Time) (list []Rival, fresh bool) {
	fresh = !slices.ContainsFunc(Current(rivals, now), rival.same)
	list = slices.DeleteFunc(slices.Clone(rivals), rival.same)
	return append(list, rival), fresh
}

// Current returns the rivals that charon lately chose for a peer.
func Current(rivals []Rival, now time.Time) []Rival {
	return slices.DeleteFunc(slices.Clone(rivals), func(v Rival) bool {
		return now.Sub(v.Last) >= lifetime
	})
}
