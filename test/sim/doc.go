// Package sim runs whole networks of engines in virtual time: spokes, regional hubs and a central hub, joined by a simulated
// underlay, kernel and charon. A run is a function of its options: one heap of events, one random source, no map order.
//
// # What is simulated
//
// The underlay delays, loses, duplicates and reorders packets, translates addresses (full cone, address-restricted, symmetric NAT)
// and is cut between pairs of
// routers, in both directions or in one. The kernel applies wanted neighbours and routes a little later, forwards data hop by hop by
// the longest prefix, reports packets that leave by the tunnel they came from, holds those for a neighbour that it misses and asks for
// it, and remembers when peers were used. charon takes
// round trips to make an SA, keeps what its peer may have lost already until dead peer detection tells it, is killed and restarted.
// A routing protocol, which the network would have, is a rule here: see topology.go. Two SAs at once between the same two routers,
// which charon settles, are not simulated.
//
// A network may be of a kind, or of several at once (Options): spokes announce their LANs, or route to each other straight (phase 2);
// there is no IPsec; several spokes are behind one NAT address, with marks and names as strongSwan and the daemon have them, and here
// and there a router that cannot mark. Without IPsec a NAT has one router behind it, which it lets everybody in to: GRE has no ports.
//
// # What must hold
//
// After every step, of what it touched (step.go), and each virtual minute, of everything (audit.go):
//   - an overlay address at a hub belongs to one identity until its binding ends;
//   - no neighbour and no route is wanted whose peer has no SA, but for the grace times of the engine's documentation, and nothing is
//     sent to such a peer;
//   - no binding and no shortcut outlives its holding time;
//   - tables keep their limits, and the kernel has what is wanted;
//   - a packet that waits for a neighbour goes out, or is given up, within the times of miss.go, and nothing leads to an address that
//     nobody has;
//   - who is registered is reached by its binding, also behind a NAT address that others have, routers behind one never talk to each
//     other directly, and an SA with a hub stays where nothing happens (onenat.go);
//   - data between two routers that have a working path arrives again within the time that the last fault on it may take to heal
//     (see the constants of fault.go), and never runs in circles.
//
// At the end faults and traffic stop (quiet.go). Then, idle times later, only registrations are refreshed, and no shortcut, answer or
// spoke-to-spoke SA is left; and everybody can reach everybody.
package sim
