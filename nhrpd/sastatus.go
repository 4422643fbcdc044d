package nhrpd

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/vici"
)

// strongswanStatus returns what the API shows of the connection to charon.
func (d *Daemon) strongswanStatus() api.StrongSwan {
	st := d.strongswan.Status()
	return api.StrongSwan{
		Connected:     st.Connected,
		Socket:        d.charon,
		Version:       st.Version,
		Since:         st.Since,
		Error:         st.LastError,
		EventsDropped: st.EventsDropped,
	}
}

// stateBytes has the bytes that ESP states counted, by direction and SPI. The receiver chooses an
// SPI, so both directions may use the same one.
type stateBytes struct{ in, out map[uint32]uint64 }

// newStateBytes returns an empty stateBytes.
func newStateBytes() stateBytes {
	return stateBytes{make(map[uint32]uint64), make(map[uint32]uint64)}
}

// add adds the states from and to a local address.
func (b stateBytes) add(local netip.Addr, states []xfrm.ESPState) {
	for _, s := range states {
		if s.Dst == local {
			b.in[s.SPI] = s.Bytes
		} else {
			b.out[s.SPI] = s.Bytes
		}
	}
}

// SAs returns the SAs with the kernel's byte counts of this moment. charon's own counts come from
// the kernel as well, but charon asks the kernel only now and then. Where the kernel has no state,
// charon's last count stays. SAs returns an error if the kernel cannot be asked; see api.Daemon.
func (d *Daemon) SAs(ctx context.Context) ([]api.SA, error) {
	counted := newStateBytes()
	for _, local := range d.protectedAddresses(ctx) {
		states, err := d.platform.ESPStates(local)
		if err != nil {
			return nil, fmt.Errorf("count the bytes of the SAs: %w", err)
		}
		counted.add(local, states)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sas := d.strongswan.SAs()
	for i := range sas {
		for n := range sas[i].Children {
			c := &sas[i].Children[n]
			c.BytesIn, c.BytesOut =
				max(c.BytesIn, counted.in[c.SPIIn]), max(c.BytesOut, counted.out[c.SPIOut])
		}
	}
	d.strongswan.Counted(counted.in, counted.out)
	return d.saStatus(sas), nil
}

// saStatus returns what the API shows of SAs. If charon does not answer, it says as of when.
func (d *Daemon) saStatus(sas []vici.SA) []api.SA {
	var asOf time.Time
	if st := d.strongswan.Status(); !st.Connected {
		asOf = st.Since
	}
	return list(sas, func(sa vici.SA) api.SA {
		return api.SA{
			Interface:      sa.Interface,
			Connection:     sa.Connection,
			ID:             sa.ID,
			State:          sa.State,
			Local:          sa.LocalHost,
			Remote:         sa.RemoteHost,
			LocalIdentity:  sa.LocalID,
			RemoteIdentity: sa.RemoteID,
			Initiator:      sa.Initiator,
			LocalNAT:       sa.LocalNAT,
			RemoteNAT:      sa.RemoteNAT,
			Proposal:       sa.Encryption + "/" + sa.Group,
			Established:    sa.Established,
			Rekey:          sa.Rekey,
			AsOf:           asOf,
			Children:       list(sa.Children, childStatus),
		}
	})
}

// childStatus returns what the API shows of a CHILD_SA. The totals include what the CHILD_SAs
// before it carried.
func childStatus(c vici.Child) api.ChildSA {
	return api.ChildSA{
		Mark:      c.Mark,
		Name:      c.Name,
		ID:        c.ID,
		State:     c.State,
		Mode:      c.Mode,
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

// markReached finds out which router packets reach if several routers share their address. The
// kernel sends by the newest SA, and charon gives the newest CHILD_SA the highest ID.
func markReached(peers []api.Peer, sas []api.SA) {
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
			w := way{sas[i].Interface, sas[i].Remote, c.Mark}
			if before, asked := newest[w]; asked && (before == nil || c.ID > before.ID) {
				newest[w], reached[w] = c, sas[i].RemoteIdentity
			}
		}
	}
	for i := range peers {
		if p := &peers[i]; len(p.SharedWith) > 0 {
			p.Reached = reached[way{p.Interface, p.NBMA, p.Mark}]
		}
	}
}
