// Package neighbors decides which neighbours and host routes the kernel is to have on an interface,
// and which way a packet takes by the routes that are there.
//
// Several parts may want one overlay address reached at different NBMA addresses. Each holds a
// [Claim], and the claim that comes first by its [Rank] decides.
package neighbors
