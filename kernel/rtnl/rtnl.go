// Package rtnl speaks rtnetlink (rtnetlink(7)): it sends requests to the kernel and reads the
// answers, it receives notifications, and it encodes and decodes the links, addresses, neighbours
// and routes that these messages carry. It decides nothing: the packages that use it decide what
// the kernel has to have.
//
// The package encodes and decodes links and addresses itself. vishvananda/netlink does not know
// ignore-df of GRE, does not send back the attributes of a changed link that it does not know, and
// has no function to read a link or an address from a notification.
//
// Everything works in the network namespace of the calling thread. The package needs CAP_NET_ADMIN,
// and Linux 5.0 or later for filtered dumps and for the protocol number of neighbours.
package rtnl

// Protocol is the protocol number (rtm_protocol, NDA_PROTOCOL) of the routes and neighbours that
// the daemon puts into the kernel's tables. A restarted daemon finds its own entries by it. The
// distribution package gives the number the name cygnet in /etc/iproute2/rt_protos.d, so that `ip
// route` shows which routes the daemon made.
const Protocol = 84
