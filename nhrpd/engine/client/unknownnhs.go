package client

import "net/netip"

// A client that does not know the overlay address of its NHS has to name some other destination in
// its registration. In RFC 2332 §5.2.3 that is the client's own address, and Cisco's and FRR's
// routers do so. OpenNHRP's clients name the overlay's broadcast address instead, and OpenNHRP's
// hubs answer nothing else.

// unknownDestination returns the destination of our registration of own with an NHS whose overlay
// address is not known, after so many unanswered registrations. The first TriesPerAddr
// registrations have our own address. After them, the broadcast address and our own take turns.
func (cl *Client) unknownDestination(own netip.Addr, unanswered int) netip.Addr {
	all := cl.Broadcast(own)
	if unanswered < TriesPerAddr || (unanswered-TriesPerAddr)%2 != 0 || !all.IsValid() {
		return own
	}
	return all
}
