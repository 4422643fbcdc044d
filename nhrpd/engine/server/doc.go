// Package server is the next hop server of NHRP: it takes registrations (RFC 2332 §5.2.3), and
// keeps the bindings and the announced prefixes of its clients. It decides who may have an overlay
// address or a prefix, and whose an address stays while its router is away.
package server
