// Package kernel is the Linux side of a DMVPN node. The packages below it hold its parts.
package kernel
