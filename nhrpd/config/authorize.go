package config

import (
	"path/filepath"
	"time"

	"cygnet/nhrpd/config/document"
)

// Authorize says which program of the site is asked before a client is registered. The zero value
// means that there is none.
type Authorize struct {
	Socket  string        // where it listens
	Timeout time.Duration // after so long without an answer the default decides
	Allow   bool          // the default: whether what the rules allow is allowed
}

// The values of authorize_default.
const (
	authorizeRefuse = "refuse"
	authorizeAllow  = "allow"
)

// authorize checks who is asked about registrations. Without IPsec no identity is proven, so there
// would be nothing to ask about.
func (c *checker) authorize(raw *rawInterface, i *Interface) {
	timeout := c.duration(raw.AuthorizeTimeout, 2*time.Second, 100*time.Millisecond,
		10*time.Second)
	allow := c.word(raw.AuthorizeDefault, authorizeRefuse, authorizeAllow,
		authorizeRefuse) == authorizeAllow
	if !raw.Authorize.Set {
		return
	}
	const most = 107 // the longest path that a socket's address has room for
	switch at, path := raw.Authorize.At, raw.Authorize.V; {
	case !filepath.IsAbs(path) || len(path) > most || !printable(path):
		c.Report(at, "found %s, allowed is the absolute path of a socket, of at most %d bytes",
			document.Quote(path), most)
	case !i.Protected:
		c.Report(at, "found with protection = \"none\"; allowed with \"ipsec\", since nothing else proves who registers")
	case !i.Server:
		c.Warn(at, "no router can register here, and so the authorizer is never asked: set server, or remove the key")
	default:
		i.Authorize = Authorize{Socket: path, Timeout: timeout, Allow: allow}
	}
}
