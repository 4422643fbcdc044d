// Package peerstate has the states in which the reconciler of package vici has a peer: what charon
// has of the peer's connection ([Connection]), whether this end dials the peer ([Dialling]), how
// the last attempt failed ([Failure]), and how far several SAs with the peer have become one
// ([Duplicates]). Each state changes by its method On. An event that the table of a type does not
// list for a state leaves that state as it is.
//
// The states do nothing: the reconciler runs the jobs and the timers that the tables name.
package peerstate
