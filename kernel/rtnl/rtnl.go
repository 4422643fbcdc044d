// Package rtnl speaks rtnetlink: requests to the kernel and their answers, notifications, and the
// links, addresses, neighbours and routes that these carry. It decides nothing: what is to be in
// the kernel is the business of the packages that use it.
//
// Everything works in the network namespace of the process. It needs CAP_NET_ADMIN and Linux 5.0 or
// later (filtered dumps and the protocol of neighbours).
package rtnl

// Protocol is the rtm_protocol and NDA_PROTOCOL value of what the daemon puts into the kernel's
// tables. The distribution package names it cygnet in /etc/iproute2/rt_protos.d, so `ip route`
// shows who put a route there, and a restart finds its own.
const Protocol = 84
