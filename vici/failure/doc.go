// Package failure reads from charon's log and alerts why IKE_SAs do not come up, and says in words
// what an administrator has to check. [Of] is for attempts that this end makes, [Dialogs] for those
// of other routers that dial this end.
package failure
