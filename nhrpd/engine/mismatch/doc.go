// Package mismatch remembers how the settings of other routers differ from this router's, as far as
// their packets show it.
package mismatch
