package engine

import "testing"

// A router that leaves a shared address after it may have registered there has to register again:
// the hub closes its SA once, and the router comes back. Otherwise the hub would send the router's
// packets to the routers that stayed.
func TestRouterThatLeavesASharedAddressRegistersAgain(t *testing.T) {
	n := hubAlone(t)
	n.sharedBy("192.0.2.11", "spoke1", "spoke2").says(registrationFrom("10.1.0.3", "10.255.0.12"))
	n.sharedBy("192.0.2.11", "spoke1")
	n.closed = nil

	n.from("192.0.2.12", "spoke2")
	if len(n.closed) != 1 || n.closed[0] != peerAt("192.0.2.12") {
		t.Fatalf("want the SA with spoke2 at its new address closed, have %v closed", n.closed)
	}
	n.closed = nil
	spoke2 := n.from("192.0.2.12", "spoke2")
	spoke2.says(registrationFrom("192.0.2.12", "10.255.0.12"))
	if len(n.closed) != 0 {
		t.Errorf("want the SA that came after it left alone, have %v closed", n.closed)
	}
	if b := n.status().Bindings; len(b) != 1 || b[0].Peer != peerAt("192.0.2.12") ||
		b[0].Identity != "spoke2" {
		t.Errorf("want the binding at spoke2's new address, have %+v", b)
	}
}

// A router that never shared the address keeps its SA, and so does one that is still there as well.
func TestOthersNeedNotRegisterAgain(t *testing.T) {
	n := hubAlone(t)
	n.sharedBy("192.0.2.11", "spoke1", "spoke2").says(registrationFrom("10.1.0.3", "10.255.0.12"))
	n.closed = nil
	n.from("192.0.2.13", "spoke3")
	n.from("192.0.2.14", "spoke2")
	if len(n.closed) != 0 {
		t.Errorf("want no SA closed, have %v", n.closed)
	}
}
