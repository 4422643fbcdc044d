// Package sim runs whole networks of engines in virtual time: spokes, regional hubs and a central
// hub, joined by a simulated underlay, kernel and charon. A run depends on its options only: it has
// one heap of events and one random source, and nothing depends on the order of a map.
//
// # What is simulated
//
// The underlay delays, loses, duplicates and reorders packets. It translates addresses (full-cone,
// address-restricted and symmetric NAT). It can be cut between a pair of routers, in both
// directions or in one.
//
// The kernel applies wanted neighbours and routes a little later. It forwards data hop by hop by
// the longest prefix, and reports packets that leave by the tunnel from which they came. It holds
// packets for a missing neighbour and asks the daemon for that neighbour. It records when each peer
// was last used.
//
// charon takes some round trips to make an SA. It keeps an SA that its peer has lost until dead
// peer detection finds out. It can be killed and restarted.
//
// A real network would have a routing protocol. Here fixed rules stand for it: see topology.go. The
// simulation does not cover the case of two SAs at once between the same two routers, which charon
// resolves.
//
// Options choose the kind of network, and can combine kinds. Spokes announce their LANs, or they
// have routes directly to each other (phase 2). A network has no IPsec. Several spokes are behind
// one NAT address, with marks and names as strongSwan and the daemon use them, and some routers
// cannot use marks. Without IPsec, a NAT has one router behind it and lets all packets in to that
// router, since GRE has no ports.
//
// # What must hold
//
// The simulation checks these rules after every step for what the step touched (step.go), and each
// virtual minute for everything (audit.go):
//   - an overlay address at a hub belongs to one identity until its binding ends;
//   - the engine wants no neighbour and no route whose peer has no SA, except during the grace
//     times that the engine documents, and sends nothing to such a peer;
//   - no binding and no shortcut outlives its holding time;
//   - tables keep their limits, and the kernel has what the engine wants;
//   - a packet that waits for a neighbour leaves, or the kernel gives it up, within the times of
//     miss.go, and nothing leads to an overlay address that no router has;
//   - a registered router is reached by its binding, even if it shares its NAT address with others;
//     routers behind one NAT address never talk to each other directly; and an SA with a hub stays
//     while nothing happens (onenat.go);
//   - data between two routers with a working path arrives again within the time that the last
//     fault on the path may take to heal (see the constants of fault.go), and never loops.
//
// At the end faults and traffic stop (quiet.go). After the idle times, routers only refresh their
// registrations. No shortcut, answer or SA between spokes is left, and each spoke can still reach
// every other.
package sim
