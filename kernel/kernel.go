// Package kernel is the Linux side of a DMVPN node: the mGRE tunnel and what guards it, and the reconciler that holds wanted
// neighbours and routes in the kernel's tables, compared with what the kernel says and never with what was done before.
//
// Everything works in the network namespace of the process. It needs CAP_NET_ADMIN and Linux 5.0 or later (filtered dumps and the
// protocol of neighbours).
package kernel

// Protocol is the rtm_protocol and NDA_PROTOCOL value of what this package puts into the kernel's tables. The package names it
// cygnet in /etc/iproute2/rt_protos.d, so `ip route` shows who put a route there, and a restart finds its own.
const Protocol = 84
