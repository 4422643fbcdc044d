package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// ServeMetrics answers requests on l as [Serve] does, but has nothing except GET /metrics: whoever
// can reach l sees the metrics, with those of up to peers peers of each interface, and can do
// nothing. Requests are answered one after another, so that many do not cost more at a time.
func ServeMetrics(
	ctx context.Context, l net.Listener, d Daemon, peers int, log *slog.Logger,
) error {
	s := &metricsServer{server: server{daemon: d, log: log, peers: peers}}
	if err := serveHTTP(ctx, l, s, log); err != nil {
		return fmt.Errorf("serve the metrics on %s: %w", l.Addr(), err)
	}
	return nil
}

// metricsServer is a server with one endpoint.
type metricsServer struct {
	server
	turn sync.Mutex
}

// ServeHTTP implements [http.Handler].
func (s *metricsServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/metrics":
		s.fail(w, http.StatusNotFound, fmt.Errorf("there is no %s here, only /metrics", r.URL.Path))
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		s.refuse(w, r, http.MethodGet)
	default:
		s.turn.Lock()
		defer s.turn.Unlock()
		s.metrics(w, r)
	}
}
