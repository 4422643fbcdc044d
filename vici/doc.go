// Package vici drives a stock strongSwan charon over its VICI socket so that the peers that are
// wanted have an IPsec SA protecting GRE, and says which peers have one.
//
// Per interface there is a [Profile]. From it come a template connection, "cygnet-INTERFACE", that
// lets any peer with the right credentials dial in, and a connection per peer that this end dials,
// "cygnet-INTERFACE-ADDRESS". The template of an interface that is itself called like one with an
// address ends in "-any". Names with the prefix "cygnet-" belong to this package: whatever else is
// loaded under one is unloaded.
//
// A [Client] holds what is wanted and brings charon to it: after a start, after a restart of
// charon, after an administrator's swanctl --load-all, and every minute anew. What is there is
// always read from charon, never concluded from what was done. At its end everything stays: SAs,
// connections, secrets.
//
// What depends on the version of strongSwan: events of address changes (ike-update) come with
// 5.9.2, before it a change is found by the comparison every minute; the answer "existing
// duplicate" to an initiation comes with 5.9.6, before it two SAs may result, of which one is
// closed after two seconds; alert events come with 6.0.3, before it the reason of a failure is
// taken from charon's log events; additional key exchanges come with 6.0, before it the proposals
// that have one are left out. Nothing needs to be configured for any of it.
//
// A peer with strongSwan 6.0 gives up a charon that stands still, whatever ESP it gets. Peers that
// do not answer once charon is back are dialled beside the SAs that are there: see stall.go.
//
// Log events cost much of what a handshake costs, so they are subscribed to only while wanted peers
// fail, and for up to a minute more. A first failure for no known reason is therefore told only
// when a second attempt, right after it, has failed too; for a peer that does not answer at all
// there is no need to.
//
// What somebody takes away from charon comes back: connections, and with them the PSK, within ten
// seconds; a PSK alone (swanctl --load-creds --clear) with the second attempt of a peer that is
// dialled, some two seconds after the first, and within a minute where peers dial in.
package vici
