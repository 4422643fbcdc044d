// Package swanctl reads swanctl.conf as strongSwan's swanctl does. It returns a connection in the
// form that swanctl sends to charon: with everything that the connection includes and inherits,
// with lists split, and with certificates in the place of their file names.
//
// [Load] reads the file, [File.Connection] resolves a connection, and [Connection.Template] decides
// whether it can secure the peers of a DMVPN; if not, it names the lines that have to change. None
// of them needs charon.
//
// The grammar is that of strongSwan 5.9.8, which is the same in 6.0. What swanctl would silently
// misread, such as a name that is too long for it, is an error here.
package swanctl
