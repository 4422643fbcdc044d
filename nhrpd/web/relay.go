package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"cygnet/nhrpd/account"
	"cygnet/nhrpd/api"
)

// prefix stands before the paths of the API.
const prefix = "/api"

// endpoints are all that the page may ask the daemon, with the parameters of the query that are
// passed on. Each only shows.
var endpoints = map[string]endpoint{
	"/v1/version":   {serve: (*relay).share},
	"/v1/status":    {serve: (*relay).share},
	"/v1/sas":       {serve: (*relay).share},
	"/v1/peers":     {serve: (*relay).share},
	"/v1/bindings":  {serve: (*relay).share},
	"/v1/shortcuts": {serve: (*relay).share},
	"/v1/nhs":       {serve: (*relay).share},
	"/v1/routes":    {serve: (*relay).share},
	"/v1/pairs":     {serve: (*relay).share},
	"/v1/explain":   {query: []string{"destination", "source"}, serve: (*relay).explain},
	"/v1/events":    {query: []string{"since", "journal", "follow"}, serve: (*relay).events},
}

// endpoint is an endpoint of the daemon's API that is relayed.
type endpoint struct {
	query []string
	serve func(*relay, http.ResponseWriter, *http.Request, string, url.Values)
}

// Bounds on what is relayed.
const (
	askTime       = 15 * time.Second // for the daemon's answer
	freshTime     = time.Second      // for which an answer is good for all browsers
	streamTime    = 30 * time.Minute // of a stream; the page goes on by the number of the event
	takeTime      = 10 * time.Second // for a browser to take an event
	mostAnswer    = 32 << 20         // bytes of an answer
	longestValue  = 128              // bytes of a parameter
	longestEvent  = 64 << 10
	headerAt      = "Cygnet-At" // when the daemon answered, in milliseconds since 1970
	headerJournal = "Cygnet-Journal"
	headerLast    = "Cygnet-Last"
)

// relay passes questions on to the daemon and its answers back. Accounts become words on the way.
type relay struct {
	client     *api.Client
	log        *slog.Logger
	now        func() time.Time
	shared     map[string]*shared
	explaining chan struct{} // has an element for each account under way
	streams    chan struct{} // has an element for each stream
}

func newRelay(client *api.Client, log *slog.Logger) *relay {
	r := &relay{
		client: client, log: log, now: time.Now, shared: map[string]*shared{},
		explaining: make(chan struct{}, mostExplaining),
		streams:    make(chan struct{}, mostStreams),
	}
	for path := range endpoints {
		r.shared[path] = &shared{turn: make(chan struct{}, 1)}
	}
	return r
}

// handler returns the handler of an endpoint. It passes on only the parameters that the endpoint
// has here.
func (y *relay) handler(path string) http.Handler {
	e := endpoints[path]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := url.Values{}
		for _, name := range e.query {
			if value := r.URL.Query().Get(name); value != "" && len(value) <= longestValue {
				query.Set(name, value)
			}
		}
		e.serve(y, w, r, path, query)
	})
}

// answer is what the daemon answered.
type answer struct {
	code int
	body []byte
	at   time.Time
}

// shared is an answer that is good for all browsers that ask at about the same time: many of them
// cost the daemon as much as one.
type shared struct {
	turn chan struct{} // has an element while somebody asks
	last answer        // of whoever has the turn
}

// share answers with the daemon's answer of this moment.
func (y *relay) share(w http.ResponseWriter, r *http.Request, path string, _ url.Values) {
	s := y.shared[path]
	select {
	case s.turn <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	if s.last.body == nil || y.now().Sub(s.last.at) >= freshTime {
		// The answer is for the others, too, even if this browser goes away.
		s.last = y.ask(context.WithoutCancel(r.Context()), path, nil)
	}
	a := s.last
	<-s.turn
	write(w, a)
}

// explain answers with an account of the daemon's in words.
func (y *relay) explain(w http.ResponseWriter, r *http.Request, path string, query url.Values) {
	select {
	case y.explaining <- struct{}{}:
		defer func() { <-y.explaining }()
	default:
		fail(w, http.StatusServiceUnavailable,
			errors.New("the daemon explains enough at the moment: ask again"))
		return
	}
	write(w, y.inWords(y.ask(r.Context(), path, query)))
}

// inWords returns an answer with an account as one with its words. Another answer stays as it is.
func (y *relay) inWords(a answer) answer {
	if a.code != http.StatusOK {
		return a
	}
	var x api.Explanation
	if err := json.Unmarshal(a.body, &x); err != nil {
		return y.unreachable(fmt.Errorf("read the daemon's account: %w", err))
	}
	body, err := json.Marshal(account.Of(&x))
	if err != nil {
		return y.unreachable(fmt.Errorf("put the daemon's account into words: %w", err))
	}
	return answer{a.code, body, a.at}
}

// ask asks the daemon. An error becomes an answer as well.
func (y *relay) ask(ctx context.Context, path string, query url.Values) answer {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	response, err := y.client.Show(ctx, path, query)
	if err != nil {
		return y.unreachable(err)
	}
	defer response.Body.Close()
	return y.read(response)
}

// read reads an answer of the daemon's.
func (y *relay) read(response *http.Response) answer {
	body, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer+1))
	switch {
	case err != nil:
		return y.unreachable(fmt.Errorf("read the daemon's answer: %w", err))
	case len(body) > mostAnswer:
		return y.unreachable(fmt.Errorf("the daemon's answer is larger than %d MiB, which is "+
			"too much for this page: use the command line", mostAnswer>>20))
	}
	return answer{response.StatusCode, body, y.now()}
}

// unreachable returns the answer in the place of one that the daemon does not give.
func (y *relay) unreachable(err error) answer {
	if errors.Is(err, api.ErrPermission) {
		err = fmt.Errorf("cygnet web may not use the daemon's API: set api_view_group in "+
			"the daemon's configuration to a group of its process (%w)", err)
	}
	body := failure(err)
	return answer{http.StatusBadGateway, body, y.now()}
}

// write writes an answer of the daemon's.
func write(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set(headerAt, strconv.FormatInt(a.at.UnixMilli(), 10))
	w.WriteHeader(a.code)
	_, _ = w.Write(a.body) // an error means that the browser went away
}

// events relays a stream of events until the browser or the daemon ends it, or it is old.
func (y *relay) events(w http.ResponseWriter, r *http.Request, path string, query url.Values) {
	select {
	case y.streams <- struct{}{}:
		defer func() { <-y.streams }()
	default:
		fail(w, http.StatusServiceUnavailable,
			fmt.Errorf("%d browsers follow the events already", mostStreams))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), streamTime)
	defer cancel()
	response, err := y.client.Show(ctx, path, query)
	if err != nil {
		write(w, y.unreachable(err))
		return
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		write(w, y.read(response))
		return
	}
	for _, name := range []string{"Content-Type", headerJournal, headerLast} {
		w.Header().Set(name, response.Header.Get(name))
	}
	control := http.NewResponseController(w)
	// The server's limit is meant for requests. Here it would end a stream that is quiet.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		y.log.Debug("a stream has no time of its own", "error", err)
	}
	w.WriteHeader(response.StatusCode)
	if err := pass(w, control, response.Body); err != nil && ctx.Err() == nil {
		y.log.Debug("a stream of events ended", "error", err)
	}
}

// pass passes lines on as they come.
func pass(w io.Writer, control *http.ResponseController, from io.Reader) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, longestEvent)
	for first := true; first || lines.Scan(); first = false {
		if err := control.SetWriteDeadline(time.Now().Add(takeTime)); err != nil {
			return err
		}
		if !first {
			if _, err := w.Write(append(lines.Bytes(), '\n')); err != nil {
				return err
			}
		}
		if err := control.Flush(); err != nil {
			return err
		}
	}
	return lines.Err()
}
