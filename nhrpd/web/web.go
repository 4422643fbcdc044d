// Package web shows the mesh in a browser. It serves one page, and relays to it what the daemon's
// API shows. It runs in a process of its own, which needs no privileges.
//
// The package only reads. Requests to the daemon go to the endpoints in the table endpoints and no
// others, with GET, and [api.Client.Show] refuses an endpoint that could change something. So even
// who takes the process over can do no more than look, if the process has the socket for those who
// may look.
//
// Browsers are held to rules, because the page is reachable from every web site that the same
// browser has open:
//
//   - The Host header must be an address, localhost or a name that the administrator gave. A site
//     that has its own name lead to this address (DNS rebinding) is refused.
//   - A request that another site makes is refused, by Origin and Sec-Fetch-Site.
//   - Only GET is allowed, HEAD for the page's files, and POST to log in and out.
//   - The content security policy allows scripts and styles of the page's own and nothing else.
//
// Where the page is served on another address than loopback, each browser must give a token once.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"cygnet/nhrpd/api"
)

// Bounds on what the browsers may cost.
const (
	mostConnections = 64               // at a time
	mostStreams     = 16               // of events at a time; the daemon allows 32 to all readers
	mostExplaining  = 4                // accounts that the daemon gives at a time
	mostHeader      = 16 << 10         // bytes of a request's header
	mostBody        = 4 << 10          // bytes of a request's body
	readTime        = 10 * time.Second // for a browser to send a request
	writeTime       = 30 * time.Second // for a browser to take an answer
	idleTime        = 60 * time.Second // of a connection between requests
	shutdownGrace   = 2 * time.Second
)

// Options says what a page is of and who may see it.
type Options struct {
	Client *api.Client // asks the daemon
	Token  string      // that browsers must give; empty: none
	// Hosts are the names by which browsers reach the page, besides addresses and localhost.
	Hosts []string
	Log   *slog.Logger
}

// Handler returns the handler of the page and of what the page asks.
func Handler(o Options) http.Handler {
	s := &site{
		hosts: o.Hosts,
		door:  newDoor(o.Token, o.Log),
		relay: newRelay(o.Client, o.Log),
	}
	mux := http.NewServeMux()
	for path, f := range files {
		mux.Handle("GET "+path, f)
	}
	for path := range endpoints {
		mux.Handle("GET "+prefix+path, s.door.guard(s.relay.handler(path)))
	}
	mux.HandleFunc("POST /login", s.door.login)
	mux.HandleFunc("POST /logout", s.door.logout)
	s.mux = mux
	return s
}

// CheckListen returns the address to listen on. It returns an error if text is none, or if it is
// another one than loopback and browsers need no token.
func CheckListen(text string, token bool) (netip.AddrPort, error) {
	at, err := netip.ParseAddrPort(text)
	switch {
	case err != nil:
		return at, fmt.Errorf("found %q, allowed is ADDRESS:PORT, such as 127.0.0.1:8116", text)
	case !at.Addr().Unmap().IsLoopback() && !token:
		return at, fmt.Errorf("%s can be reached from other machines: give a token with "+
			"--token-file, or listen on 127.0.0.1", at)
	}
	return at, nil
}

// Serve answers requests on l with h until the context ends, and closes l. Streams end then, and
// other requests under way get a short time. When Serve returns, none of its goroutines is left.
// The error is nil if the end of the context was the reason.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	var conns sync.WaitGroup // http.Server.Close does not wait for requests under way
	srv := &http.Server{
		Handler: h,
		// Streams end with the context, so that nobody waits for them.
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         counting(&conns),
		ReadHeaderTimeout: readTime / 2,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    mostHeader,
		// OPTIONS is refused like any other method that is not needed.
		DisableGeneralOptionsHandler: true,

		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(netutil.LimitListener(l, mostConnections)) }()
	var err error
	select {
	case err = <-served:
		srv.Close()
	case <-ctx.Done():
		grace, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer stop()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
		err = <-served
	}
	conns.Wait()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the page on %s: %w", l.Addr(), err)
	}
	return nil
}

// counting keeps wg at the number of connections that have a goroutine. A connection gets its state
// New before Serve accepts the next one, so none is added after Serve has returned.
func counting(wg *sync.WaitGroup) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			wg.Add(1)
		case http.StateClosed:
			wg.Done()
		}
	}
}
