// Package sagroup keeps which interfaces share their SAs.
//
// In transport mode an SA is for all GRE between two addresses. Interfaces that send from one
// underlay are therefore an SA group: they share the SA with each router, and only the GRE key of a
// packet tells for which of them it is. strongSwan knows a group as one interface, with one profile
// and one connection for each peer. Its name, which is in the names of those connections, lasts as
// long as the group: over a change of its members, a reload and a restart of the daemon. Under
// another name the daemon would not find the SAs that charon has.
//
// The engine knows the interfaces. What it wants goes to the group, and what strongSwan reports of
// a group's SA is told to each of its interfaces (About, ForInterface).
//
// An interface whose SAs are for its GRE key alone is a group of its own. Such groups on one
// underlay know of each other: charon may take the connection of any of them for a router that
// dials in, so the profile of each has the others beside it.
package sagroup
