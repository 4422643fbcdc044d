package vici

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/message"
)

// Rival is somebody else's connection, such as one for road warriors, that charon chooses for peers
// of an interface. Those peers then get SAs in tunnel mode, which they do not accept, so they are
// never secured.
type Rival struct {
	Interface  string
	Connection string
	Peer       netip.Addr // the last peer for which charon chose the connection
	Identity   string     // of that peer
	Last       time.Time  // when charon last chose the connection for a peer
}

const (
	rivalTime     = 10 * time.Minute // how long the status shows a rival after its last peer
	rivalShort    = 10 * time.Second // a peer that ends an SA within this time did not accept it
	rivalStrikes  = 2                // refused SAs of a connection that make it a rival
	mostSuspects  = 256              // watched SAs, of which peers that dial in could make many
	mostRivals    = 32               // connections of administrators, so there are few
	selectorOfGRE = "[gre"           // in charon's notation of a traffic selector
)

// suspect is an SA by somebody else's connection that carries GRE from a tunnel's address.
type suspect struct {
	rival Rival
	since time.Time
}

// rivalUp examines a CHILD_SA that came up by somebody else's connection. If the peer dialled in
// and asked for GRE with a tunnel's address, the peer is probably one of that tunnel.
func (r *reconciler) rivalUp(sa *SA, m *govici.Message) {
	if sa == nil || message.Text(m, "up") != "yes" || sa.Initiator ||
		len(r.suspects) >= mostSuspects {
		return
	}
	gre := slices.ContainsFunc(sa.Children, func(c Child) bool {
		return c.Mode == "TUNNEL" && slices.ContainsFunc(c.LocalTS, func(s string) bool {
			return strings.Contains(s, selectorOfGRE)
		})
	})
	if !gre {
		return
	}
	for iface, p := range r.profiles {
		if slices.Contains(p.LocalAddrs, sa.LocalHost) {
			now := time.Now()
			r.suspects[sa.ID] = suspect{
				Rival{iface, sa.Connection, sa.RemoteHost, sa.RemoteID, now},
				now,
			}
			return
		}
	}
}

// rivalDown examines the end of an IKE_SA by somebody else's connection. A peer that closes the
// IKE_SA at once did not accept the SA.
func (r *reconciler) rivalDown(sa *SA) {
	if sa == nil {
		return
	}
	s, known := r.suspects[sa.ID]
	delete(r.suspects, sa.ID)
	if !known || time.Since(s.since) > rivalShort {
		return
	}
	key := s.rival.Interface + " " + s.rival.Connection
	if r.strikes[key] == 0 && len(r.strikes) >= mostRivals {
		return
	}
	if r.strikes[key]++; r.strikes[key] < rivalStrikes {
		return
	}
	fresh := false
	r.status(func(st *Status) {
		st.Rivals = slices.DeleteFunc(st.Rivals, func(o Rival) bool {
			same := o.Interface == s.rival.Interface && o.Connection == s.rival.Connection
			fresh = fresh || same && time.Since(o.Last) < rivalTime
			return same
		})
		st.Rivals = append(st.Rivals, s.rival)
	})
	if !fresh {
		r.log.Warn(
			"charon chooses another connection for peers that dial in, and they do not take its SAs: set remote_identity, or narrow that connection",
			slog.String("interface", s.rival.Interface),
			slog.String("connection", s.rival.Connection),
			slog.Any("nbma", s.rival.Peer), slog.String("identity", s.rival.Identity))
	}
}

// forgetRivals forgets the rivals of an interface whose profile changed: with another remote
// identity charon may choose differently.
func (r *reconciler) forgetRivals(iface string) {
	for key := range r.strikes {
		if strings.HasPrefix(key, iface+" ") {
			delete(r.strikes, key)
		}
	}
	r.status(func(st *Status) {
		st.Rivals = slices.DeleteFunc(st.Rivals, func(v Rival) bool { return v.Interface == iface })
	})
}

// current returns the rivals that charon lately chose for a peer.
func current(rivals []Rival, now time.Time) []Rival {
	return slices.DeleteFunc(slices.Clone(rivals), func(v Rival) bool {
		return now.Sub(v.Last) >= rivalTime
	})
}
