// Package ike has the IKE_SAs and CHILD_SAs of a charon as charon reports them: how they are read
// from its events and lists ([Parse]), how they are found ([Index]), and what rekeyed ones
// carry over ([Inherit]). It decides nothing about them.
package ike
