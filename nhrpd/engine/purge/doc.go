// Package purge takes back what other routers learned from this one (RFC 2332 §5.2.5): it sends
// Purge Requests and repeats them until they are answered. When the administrator shuts a router
// out, it tells all clients, at a bounded rate.
package purge
