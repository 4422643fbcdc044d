package profile

import (
	"errors"
	"net/netip"
	"strconv"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/message"
)

// natPort is the port on which charon receives IKE and ESP in UDP through NAT.
const natPort = "4500"

// marks returns the keys that give each SA of a child a mark of its own.
func (p Profile) marks() map[string]any {
	return map[string]any{
		"mark_in": "%unique", "mark_out": "%unique", "set_mark_in": "%same",
		"priority": p.sharedPriority(),
	}
}

// DialThroughNAT makes a connection (of that name, in the argument of load-conn) dial a peer behind
// NAT: through the mapping that the peer's last SA left at its NAT, from the port that the NAT
// knows. Without a mapping no packet reaches the peer.
func DialThroughNAT(conn *govici.Message, name string, port uint16) error {
	own, ok := message.Section(conn, name)
	if !ok {
		return nil
	}
	return errors.Join(
		own.Set("local_port", natPort), own.Set("remote_port", strconv.Itoa(int(port))))
}

// DialAnew gives a connection a key that charon compares and IKEv2 does not use. Otherwise charon
// would reuse the IKE_SA that it has by an equal connection, and dial nobody.
func DialAnew(conn *govici.Message, name string) error {
	own, ok := message.Section(conn, name)
	if !ok {
		return nil
	}
	return own.Set("pull", "no")
}

// NewRecall builds the argument of load-conn by which this end dials one of several routers behind
// an address, through its mapping at the NAT. Its name is that of [RecallName].
func (p Profile) NewRecall(address netip.Addr, port uint16) (*govici.Message, error) {
	shared, err := p.NewConnection(address, true)
	if err != nil {
		return nil, err
	}
	name, conn := RecallName(p.Interface, address, port), govici.NewMessage()
	if err := conn.Set(name, shared.Get(SharedName(p.Interface, address))); err != nil {
		return nil, err
	}
	return conn, DialThroughNAT(conn, name, port)
}
