// Package engine holds the protocol and all decisions of a DMVPN node: client and server of NHRP (RFC 2332), shortcuts, and the
// security of each peer. It does no I/O, reads no clock, starts nothing and locks nothing: events go in with the time of now,
// what follows from them comes out. The same state, random source and events give the same output.
package engine
