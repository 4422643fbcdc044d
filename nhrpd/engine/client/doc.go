// Package client is the next hop client of NHRP: it registers this router, and the networks behind
// it, with its next hop servers (RFC 2332 §5.2.3 and §5.2.4). It notices when a next hop server is
// lost, also without IPsec.
//
// Begin at [NHS], the registration with one server, and at its state table in
// doc/peer-and-shortcut.md.
package client
