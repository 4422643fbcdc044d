// Package overlay is what the parts of an engine share.
//
// A [Router] has the time, the timers, the random source and the output of the call under way. An
// [Interface] has the configuration and the addresses of one interface, the limits on what other
// routers may cause, and what a part needs to send a packet, to count a drop and to log an event. A
// [Message] is a received packet. A [Holder] is the router against whose share something counts.
//
// Nothing in this package knows what the parts do.
package overlay
