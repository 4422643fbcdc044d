// Package vici drives a stock strongSwan charon over its VICI socket, so that each wanted peer has
// an IPsec SA that protects GRE, and reports which peers have one.
//
// A [Client] knows what is wanted: a profile for each interface, and for each peer whether this end
// dials it. It brings charon to that after a start, after a restart of charon, after an
// administrator's swanctl --load-all, and every minute. What charon has is always read from charon,
// never concluded from what the client did. When the client ends everything stays: SAs,
// connections, secrets.
//
//	Client ── calls ──► reconciler ── jobs ──► session.Link ──► charon
//	       ◄─ Events ──            ◄─ events, lists, log ──
//
// Where to begin reading: reconcile.go has the reconciler and a drawing of its parts, each of which
// owns the state of one concern. peer.go has the entry of a peer and takes the next step for it;
// package peerstate has the states. handle.go takes charon's events, inspect.go examines the SAs
// that they report, resync.go compares everything with what charon lists.
//
// What depends on the version of strongSwan, and needs no configuration:
//
//   - Events about a changed address (ike-update) came with 5.9.2. Before that the comparison every
//     minute finds the change.
//   - The answer "existing duplicate" to an initiation came with 5.9.6. Before that two SAs may
//     result, one of which is closed two seconds later.
//   - Additional key exchanges came with 6.0. Before that proposals that have one are left out.
//   - Alert events came with 6.0.3. Before that the reason of a failure comes from charon's log.
//   - From 6.0 on a peer gives up a charon that stands still even while it gets ESP. A peer that
//     does not answer when charon is back is dialled beside the SA that is there: see renewals.go.
//
// Log events cost much of what a handshake costs, so the client subscribes to them only while
// wanted peers fail, and for up to a minute more. A first failure for no known reason is therefore
// reported only when a second attempt, right after it, has failed, too. A peer that does not answer
// at all needs no second attempt.
//
// What somebody removes from charon comes back: connections, and with them the PSK, within ten
// seconds. A PSK alone (swanctl --load-creds --clear) comes back with the second attempt of a peer
// that is dialled, some two seconds after the first, and within a minute where peers dial in.
package vici
