// Package profile turns the IPsec settings of an interface into what charon loads, and knows which
// SAs they allow.
//
// From a [Profile] come a template connection, by which any peer with the right credentials dials
// in, and a connection for each peer that this end dials. Connections with names that begin with
// [Prefix] belong to this program: whatever else is loaded under such a name is unloaded. [Rules]
// hold an SA that came of it against the profile.
//
// Everything here is a function of the profile, and of the certificate files that it names.
package profile
