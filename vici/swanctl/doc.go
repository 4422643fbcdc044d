// Package swanctl reads swanctl.conf as strongSwan's swanctl does, and gives a connection of it in the form that swanctl sends
// to charon: with what it includes and inherits, lists split, and certificates in place of the names of their files.
//
// [Load] reads the file, [File.Connection] resolves a connection, and [Connection.Template] says whether peers of a DMVPN can be
// secured by it, and if not, which line is to be changed. Neither needs charon.
//
// The grammar is that of strongSwan 5.9.8, which is the same in 6.0. What swanctl would silently misread, such as a name that
// is too long for it, is an error here.
package swanctl
