package nhrpd

import (
	"fmt"

	"cygnet/nhrpd/api"
	"cygnet/vici"
)

func (d *Daemon) strongswanStatus() api.StrongSwan {
	st := d.strongswan.Status()
	return api.StrongSwan{
		Connected: st.Connected, Socket: d.charon, Version: st.Version, Since: st.Since, Error: st.LastError,
		EventsDropped: st.EventsDropped,
	}
}

func saStatus(sas []vici.SA) []api.SA {
	return list(sas, func(sa vici.SA) api.SA {
		return api.SA{
			Interface: sa.Interface, Connection: sa.Connection, ID: sa.ID, State: sa.State,
			Local: sa.LocalHost, Remote: sa.RemoteHost, LocalIdentity: sa.LocalID, RemoteIdentity: sa.RemoteID,
			Initiator: sa.Initiator, LocalNAT: sa.LocalNAT, RemoteNAT: sa.RemoteNAT,
			Proposal: sa.Encryption + "/" + sa.Group, Established: sa.Established, Rekey: sa.Rekey,
			Children: list(sa.Children, childStatus),
		}
	})
}

func childStatus(c vici.Child) api.ChildSA {
	return api.ChildSA{
		Mark: c.Mark, Name: c.Name, ID: c.ID, State: c.State, Mode: c.Mode, Proposal: c.Encryption,
		SPIIn: fmt.Sprintf("%08x", c.SPIIn), SPIOut: fmt.Sprintf("%08x", c.SPIOut),
		BytesIn: c.BytesIn, BytesOut: c.BytesOut, Installed: c.Installed, Rekey: c.Rekey,
	}
}

// markReached finds who it is that packets to an address reach which several routers share. The kernel takes the newest SA; charon's
// ids of children rise.
func markReached(peers []api.Peer, sas []api.SA) {
	for i := range peers {
		p := &peers[i]
		if len(p.SharedWith) == 0 {
			continue
		}
		var newest uint32
		for _, sa := range sas {
			for _, c := range sa.Children {
				if sa.Interface == p.Interface && sa.Remote == p.NBMA && c.Mark == p.Mark && c.ID > newest {
					newest, p.Reached = c.ID, sa.RemoteIdentity
				}
			}
		}
	}
}
