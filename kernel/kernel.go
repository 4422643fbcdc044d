// Package kernel is the Linux side of a DMVPN node. It owns the eBPF programs: those on the tunnel
// (DataPath) and those that stop clear GRE on the underlay (Fence). It also finds out what the
// kernel can do (Probe). The packages below it hold the other parts: the tunnel, rtnetlink, IPsec,
// the NHRP socket, the reconciler of neighbours and routes, and the watches.
package kernel
