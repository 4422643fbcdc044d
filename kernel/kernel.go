// Package kernel is the Linux side of a DMVPN node: the mGRE tunnel and what surrounds it, the eBPF
// programs with the fence against clear GRE, and what tries the kernel as a whole. The packages
// below it hold the other parts: rtnetlink, IPsec, the NHRP socket, the reconciler of neighbours
// and routes, and the watches.
package kernel
