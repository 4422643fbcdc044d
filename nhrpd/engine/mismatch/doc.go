// Package mismatch remembers how the settings of other routers differ from this router's, as far as
// the packets of those routers show it.
package mismatch
