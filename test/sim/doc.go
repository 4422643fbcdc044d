// Package sim runs whole networks of engines in virtual time: spokes, regional hubs and a central hub, joined by a simulated
// underlay, kernel and charon. A run is a function of its options: one heap of events, one random source, no map order.
//
// # What is simulated
//
// The underlay delays, loses, duplicates and reorders packets, translates addresses (full cone, address-restricted, symmetric NAT)
// and is cut between pairs of
// routers, in both directions or in one. The kernel applies wanted neighbours and routes a little later, forwards data hop by hop by
// the longest prefix, reports packets that leave by the tunnel they came from, and remembers when peers were used. charon takes
// round trips to make an SA, keeps what its peer may have lost already until dead peer detection tells it, is killed and restarted.
// A routing protocol, which the network would have, is a rule here: see topology.go. Two SAs at once between the same two routers,
// which charon settles, are not simulated.
//
// # What must hold
//
// After every step, of what it touched (step.go), and each virtual minute, of everything (audit.go):
//   - an overlay address at a hub belongs to one identity until its binding ends;
//   - no neighbour and no route is wanted whose peer has no SA, but for the grace times of the engine's documentation, and nothing is
//     sent to such a peer;
//   - no binding and no shortcut outlives its holding time;
//   - tables keep their limits, and the kernel has what is wanted;
//   - data between two routers that have a working path arrives again within the time that the last fault on it may take to heal
//     (see the constants of fault.go), and never runs in circles.
//
// At the end faults and traffic stop (quiet.go). Then, idle times later, only registrations are refreshed, and no shortcut, answer or
// spoke-to-spoke SA is left; and everybody can reach everybody.
package sim
