// Package resolution is all that Resolution Requests are about (RFC 2332 §5.2.1, §5.2.2 and §5.3).
//
// The [Requester] asks for shorter ways and keeps the shortcuts that follow from the answers. The
// [Responder] answers, and remembers its answers, so that it can take them back. [Transit] passes
// on what is for other routers. [Relays] send the traffic for a router through an NHS while the
// router cannot be reached directly.
//
// Traffic indications, by which a hub tells a spoke that there may be a shorter way, are Cisco's
// and not of the RFC.
package resolution
