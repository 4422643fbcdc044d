// Package kernel is the Linux side of a DMVPN node. It owns the mGRE tunnel (Tunnel) and the eBPF
// programs: those on the tunnel (DataPath) and those that stop clear GRE on the underlay (Fence).
// It also finds out what the kernel can do (Probe), what others set up around a tunnel (LookAround)
// and what an earlier run left (FindLeftovers). The packages below it hold the other parts:
// rtnetlink, IPsec, the NHRP socket, the reconciler of neighbours and routes, and the watches.
package kernel
