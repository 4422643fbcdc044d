package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Bounds on what one request may cost the server.
const (
	statusTimeout = 5 * time.Second  // time for the daemon to copy its state
	leaveTimeout  = 60 * time.Second // time to send purges and to withdraw routes and SAs
	askTimeout    = 20 * time.Second // time to ask other routers, and for their answers
	streamWrite   = 30 * time.Second // time for the reader of a stream to take a packet
	longestBlock  = 10 * 365 * 24 * time.Hour
	maxBody       = 4 << 10
	maxHeader     = 16 << 10
	shutdownGrace = 2 * time.Second
)

// Serve answers requests on l with what d returns, until the context ends. Requests under way then
// get a short time to finish. Serve closes l. When it returns, none of its goroutines is left. The
// error is nil if the end of the context was the reason. Up to peers peers of each interface have
// metrics of their own.
func Serve(ctx context.Context, l net.Listener, d Daemon, peers int, log *slog.Logger) error {
	s := &server{daemon: d, log: log, peers: peers, ending: ctx}
	if err := serveHTTP(ctx, l, s, log); err != nil {
		return fmt.Errorf("serve the API on %s: %w", l.Addr(), err)
	}
	return nil
}

// ServeView is [Serve] for those who may look and do nothing: it refuses what changes something or
// sends packets.
func ServeView(
	ctx context.Context, l net.Listener, d Daemon, peers int, log *slog.Logger,
) error {
	s := &server{daemon: d, log: log, peers: peers, ending: ctx, looking: true}
	if err := serveHTTP(ctx, l, s, log); err != nil {
		return fmt.Errorf("serve those who may look on %s: %w", l.Addr(), err)
	}
	return nil
}

// serveHTTP is Serve for any handler.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var conns sync.WaitGroup // http.Server.Close does not wait for requests under way
	srv := &http.Server{
		Handler:           h,
		ConnState:         counting(&conns),
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      leaveTimeout + 30*time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		cancel()
		srv.Close()
		conns.Wait()
		return err
	case <-ctx.Done():
	}
	grace, stop := context.WithTimeout(requests, shutdownGrace)
	defer stop()
	if err := srv.Shutdown(grace); err != nil {
		cancel()
		srv.Close()
	}
	<-served
	conns.Wait()
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

type server struct {
	daemon Daemon
	log    *slog.Logger
	peers  int             // how many peers of each interface have metrics of their own
	ending context.Context // ends when Serve is to end

	looking bool // refuse what does not only show
}

// views maps each endpoint that shows the status, or a part of it, to what it shows.
var views = map[string]func(*Status) any{
	"/v1/status":    func(s *Status) any { return s },
	"/v1/peers":     func(s *Status) any { return s.Peers() },
	"/v1/bindings":  func(s *Status) any { return s.Bindings() },
	"/v1/shortcuts": func(s *Status) any { return s.Shortcuts() },
	"/v1/nhs":       func(s *Status) any { return s.NHS() },
	"/v1/routes":    func(s *Status) any { return s.Routes },
	"/v1/blocked":   func(s *Status) any { return s.Blocked },
}

// ServeHTTP passes a request to its endpoint. Every answer that is not a success is a Failure.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := endpoints[r.URL.Path]
	if e == nil {
		s.fail(w, http.StatusNotFound, fmt.Errorf("the API has no %s", r.URL.Path))
		return
	}
	allowed := e.allowed()
	if r.Method != allowed && !(allowed == http.MethodGet && r.Method == http.MethodHead) {
		s.refuse(w, r, allowed)
		return
	}
	if s.looking && allowed != http.MethodGet {
		s.fail(w, http.StatusForbidden,
			fmt.Errorf("%s is for root and the api_group; here anybody may only look", r.URL.Path))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	e.serve(s, w, r)
}

// refuse answers a request whose endpoint takes another method.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, allowed string) {
	w.Header().Set("Allow", allowed)
	s.fail(w, http.StatusMethodNotAllowed, fmt.Errorf("%s takes %s only", r.URL.Path, allowed))
}

func (s *server) view(w http.ResponseWriter, r *http.Request) {
	status, err := s.status(r.Context())
	if err != nil {
		s.fail(w, http.StatusServiceUnavailable, err)
		return
	}
	s.answer(w, http.StatusOK, views[r.URL.Path](status))
}

func (s *server) sas(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	sas, err := s.daemon.SAs(ctx)
	if err != nil {
		s.fail(w, http.StatusServiceUnavailable, fmt.Errorf("the daemon gives no SAs: %w", err))
		return
	}
	present(&sas)
	for i := range sas {
		present(&sas[i].Children)
	}
	s.answer(w, http.StatusOK, sas)
}

func (s *server) pairs(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	pairs, err := s.daemon.Pairs(ctx)
	if err != nil {
		s.fail(w, http.StatusServiceUnavailable, fmt.Errorf("the daemon gives no pairs: %w", err))
		return
	}
	present(&pairs)
	s.answer(w, http.StatusOK, pairs)
}

func (s *server) explain(w http.ResponseWriter, r *http.Request) {
	destination, source, err := explained(r.URL.Query())
	if err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	x, err := s.daemon.Explain(ctx, destination, source)
	if err != nil {
		s.fail(w, http.StatusServiceUnavailable,
			fmt.Errorf("the daemon cannot explain %s: %w", destination, err))
		return
	}
	s.answer(w, http.StatusOK, x)
}

// explained reads what a request asks to be explained.
func explained(query url.Values) (destination, source netip.Addr, err error) {
	destination, err = netip.ParseAddr(query.Get("destination"))
	if err != nil || destination.Zone() != "" {
		return destination, source,
			fmt.Errorf("destination: found %q, allowed is an IP address", query.Get("destination"))
	}
	if text := query.Get("source"); text != "" {
		source, err = netip.ParseAddr(text)
		if err != nil || source.Zone() != "" || source.Is4() != destination.Is4() {
			return destination, source, fmt.Errorf(
				"source: found %q, allowed is an IP address of the same family as %s",
				text, destination)
		}
	}
	return destination, source, nil
}

func (s *server) version(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, http.StatusOK, VersionInfo{Version: Version, Go: runtime.Version()})
}

func (s *server) metrics(w http.ResponseWriter, r *http.Request) {
	status, err := s.status(r.Context())
	if err != nil {
		s.fail(w, http.StatusServiceUnavailable, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	if err := WriteMetrics(w, status, s.peers); err != nil {
		s.log.Debug("metrics were not read to their end", "error", err)
	}
}

func (s *server) leave(w http.ResponseWriter, r *http.Request) {
	var request LeaveRequest
	if err := decode(r, &request); err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), leaveTimeout)
	defer cancel()
	s.done(w, s.daemon.Leave(ctx, request.Interface))
}

func (s *server) drain(w http.ResponseWriter, r *http.Request) {
	var request DrainRequest
	if err := decode(r, &request); err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	s.done(w, s.daemon.Drain(ctx, request.Interface, request.Off))
}

func (s *server) block(w http.ResponseWriter, r *http.Request) {
	var request BlockRequest
	if err := decode(r, &request); err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	if request.Seconds < 0 || request.Seconds > longestBlock.Seconds() {
		s.fail(w, http.StatusBadRequest, fmt.Errorf("found %v seconds, allowed is up to %v, or none to block until unblock",
			request.Seconds, longestBlock.Seconds()))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	s.done(w,
		s.daemon.Block(ctx, request.Identity, time.Duration(request.Seconds*float64(time.Second))))
}

func (s *server) unblock(w http.ResponseWriter, r *http.Request) {
	var request UnblockRequest
	if err := decode(r, &request); err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	s.done(w, s.daemon.Unblock(ctx, request.Identity))
}

func (s *server) setLog(w http.ResponseWriter, r *http.Request) {
	var request LogRequest
	if err := decode(r, &request); err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	if request.Seconds < 0 || request.Seconds > longestBlock.Seconds() {
		s.fail(w, http.StatusBadRequest, fmt.Errorf(
			"found %v seconds, allowed is up to %v, or none to set the level until a restart",
			request.Seconds, longestBlock.Seconds()))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	s.done(w, s.daemon.SetLog(ctx, request))
}

func (s *server) resolve(w http.ResponseWriter, r *http.Request) {
	asked(s, w, r, func(ctx context.Context, q ResolveRequest) (*Explanation, error) {
		if !q.Destination.IsValid() || q.Destination.Zone() != "" {
			return nil, fmt.Errorf("%w: destination must be an IP address", ErrRefused)
		}
		return s.daemon.Resolve(ctx, q.Destination)
	})
}

func (s *server) ping(w http.ResponseWriter, r *http.Request) {
	asked(s, w, r, func(ctx context.Context, q PingRequest) (*PingResult, error) {
		return s.daemon.Ping(ctx, q.Address, q.Search)
	})
}

func (s *server) clear(w http.ResponseWriter, r *http.Request) {
	asked(s, w, r, func(ctx context.Context, q ClearRequest) ([]Cleared, error) {
		return s.daemon.Clear(ctx, q.What, q.Address)
	})
}

func (s *server) register(w http.ResponseWriter, r *http.Request) {
	asked(s, w, r, func(ctx context.Context, q RegisterRequest) ([]NHS, error) {
		list, err := s.daemon.Register(ctx, q.Interface)
		for n := range list {
			list[n].complete()
		}
		return list, err
	})
}

// asked reads a request, has the daemon carry it out, and answers with what came of it.
func asked[Q, A any](
	s *server, w http.ResponseWriter, r *http.Request, do func(context.Context, Q) (A, error),
) {
	var request Q
	if err := decode(r, &request); err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	answer, err := do(ctx, request)
	if err != nil {
		s.done(w, err)
		return
	}
	s.answer(w, http.StatusOK, answer)
}

// monitor streams copies of NHRP packets, one JSON object a line, until the client goes.
func (s *server) monitor(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	q := r.URL.Query()
	packets, err := s.daemon.Monitor(ctx, MonitorQuery{
		Peer: q.Get("peer"), Interface: q.Get("interface"), Type: q.Get("type"),
	})
	if err != nil {
		s.done(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out, encode := http.NewResponseController(w), json.NewEncoder(w)
	w.WriteHeader(http.StatusOK)
	for {
		if err := out.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case p, ok := <-packets:
			if !ok || encode.Encode(p) != nil {
				return
			}
		case <-s.ending.Done():
			return
		}
	}
}

// done answers a request that asked the daemon to do something.
func (s *server) done(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, ErrNoInterface):
		s.fail(w, http.StatusNotFound, err)
	case errors.Is(err, ErrRefused):
		s.fail(w, http.StatusConflict, err)
	case err != nil:
		s.fail(w, http.StatusInternalServerError, err)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// decode reads a request's body: one JSON object and nothing else. It requires the content type of
// JSON, so that no web page can make a browser send a request through a proxy in front of the
// socket.
func decode(r *http.Request, into any) error {
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(media) != "application/json" {
		return errors.New("the request must have the content type application/json")
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("read the request: there is more than one JSON object")
	}
	return nil
}

func (s *server) status(ctx context.Context) (*Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	status, err := s.daemon.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("the daemon gives no status: %w", err)
	}
	status.complete(time.Now())
	return status, nil
}

func (s *server) fail(w http.ResponseWriter, code int, err error) {
	s.answer(w, code, Failure{Error: err.Error()})
}

func (s *server) answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.log.Debug("an answer was not read to its end", "error", err)
	}
}
