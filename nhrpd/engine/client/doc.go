// Package client is the next hop client of NHRP: it registers this router, and the networks behind
// it, with its next hop servers (RFC 2332 §5.2.3 and §5.2.4), and notices when one of them is gone.
package client
