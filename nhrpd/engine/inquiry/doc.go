// Package inquiry asks the authorizer of an interface about registrations: a program of the site
// that knows rules which are not in the configuration, such as those of a RADIUS server.
//
// The rules and blocks of the configuration come first; the authorizer is asked only about what
// they allow, and its ruling can only narrow that. A ruling is kept for the time that the
// authorizer gives it. RFC 2332 §5.2.0.1 has the code for what it refuses: 4, "administratively
// prohibited".
//
// What happens to a registration:
//
//	there is a ruling                         the ruling decides at once
//	none, and the client is not registered    it is held until the ruling or the time-out comes
//	none, and the client is registered        it holds on; the authorizer is asked meanwhile
//	the time-out came, and it is held         the default of the configuration decides
//	the time-out came, and it is registered   it holds on; the authorizer is asked again later
//
// So an authorizer that is slow or gone never ends what is there. Only a ruling does.
package inquiry
