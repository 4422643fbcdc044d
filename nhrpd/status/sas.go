package status

import (
	"fmt"
	"net/netip"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/vici"
)

// StrongSwan returns what the API shows of the connection to charon, which is by that socket.
func StrongSwan(st vici.Status, socket string) api.StrongSwan {
	return api.StrongSwan{
		Connected:     st.Connected,
		Socket:        socket,
		Version:       st.Version,
		Since:         st.Since,
		Error:         st.LastError,
		EventsDropped: st.EventsDropped,
		Started:       st.Started,
		Failures:      st.Failures,
		Refusals:      st.Refusals,
	}
}

// SAs returns what the API shows of SAs. interfaces returns the interfaces that share the SAs of a
// group, at least one. If charon does not answer, each SA has the time since when.
func SAs(sas []vici.SA, charon vici.Status, interfaces func(group string) []string) []api.SA {
	var asOf time.Time
	if !charon.Connected {
		asOf = charon.Since
	}
	return list(sas, func(sa vici.SA) api.SA {
		shared := interfaces(sa.Interface)
		return api.SA{
			Interface:      shared[0],
			SharedBy:       shared[1:],
			Connection:     sa.Connection,
			ID:             sa.ID,
			State:          sa.State,
			Local:          sa.LocalHost,
			Remote:         sa.RemoteHost,
			RemotePort:     sa.RemotePort,
			LocalIdentity:  sa.LocalID,
			RemoteIdentity: sa.RemoteID,
			Initiator:      sa.Initiator,
			LocalNAT:       sa.LocalNAT,
			RemoteNAT:      sa.RemoteNAT,
			Proposal:       sa.Encryption + "/" + sa.Group,
			Established:    sa.Established,
			Rekey:          sa.Rekey,
			AsOf:           asOf,
			Children:       list(sa.Children, childSA),
		}
	})
}

// childSA returns what the API shows of a CHILD_SA. The totals include what the CHILD_SAs
// before it carried.
func childSA(c vici.Child) api.ChildSA {
	return api.ChildSA{
		Mark:      c.Mark,
		Name:      c.Name,
		ID:        c.ID,
		State:     c.State,
		Mode:      c.Mode,
		InUDP:     c.Encap,
		Proposal:  c.Encryption,
		SPIIn:     fmt.Sprintf("%08x", c.SPIIn),
		SPIOut:    fmt.Sprintf("%08x", c.SPIOut),
		BytesIn:   c.BytesIn,
		BytesOut:  c.BytesOut,
		TotalIn:   c.CarriedIn + c.BytesIn,
		TotalOut:  c.CarriedOut + c.BytesOut,
		Installed: c.Installed,
		Rekey:     c.Rekey,
	}
}

// MarkReached finds out which router packets reach if several routers share their address. The
// kernel sends by the newest SA, and charon gives the newest CHILD_SA the highest ID.
func MarkReached(peers []api.Peer, sas []api.SA) {
	type way struct {
		device string
		remote netip.Addr
		mark   uint32
	}
	newest := make(map[way]*api.ChildSA) // nil until a CHILD_SA is found
	reached := make(map[way]string)
	for i := range peers {
		if p := &peers[i]; len(p.SharedWith) > 0 {
			newest[way{p.Interface, p.NBMA, p.Mark}] = nil
		}
	}
	if len(newest) == 0 {
		return
	}
	for i := range sas {
		for j := range sas[i].Children {
			c := &sas[i].Children[j]
			for _, iface := range append([]string{sas[i].Interface}, sas[i].SharedBy...) {
				w := way{iface, sas[i].Remote, c.Mark}
				if before, asked := newest[w]; asked && (before == nil || c.ID > before.ID) {
					newest[w], reached[w] = c, sas[i].RemoteIdentity
				}
			}
		}
	}
	for i := range peers {
		if p := &peers[i]; len(p.SharedWith) > 0 {
			p.Reached = reached[way{p.Interface, p.NBMA, p.Mark}]
		}
	}
}
