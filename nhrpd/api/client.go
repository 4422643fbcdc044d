package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"syscall"
	"time"
)

// Errors of a client's methods, for errors.Is. If the daemon itself refuses a request, the error is
// a *[Refusal].
var (
	ErrNotRunning = errors.New("cygnetd is not running")
	ErrPermission = errors.New("no permission to use the API")
)

// Refusal is the daemon's answer that it does not carry out a request.
type Refusal struct {
	Code    int // HTTP status
	Message string
}

// Error returns the daemon's message.
func (r *Refusal) Error() string { return r.Message }

// Is reports whether target is ErrNoInterface and the daemon refused for an unknown interface.
func (r *Refusal) Is(target error) bool {
	return target == ErrNoInterface && r.Code == http.StatusNotFound
}

// maxAnswer bounds the size of an answer. It is far above the status of a hub with a hundred
// thousand spokes.
const maxAnswer = 256 << 20

// Client talks to a daemon. Its methods may be called from several goroutines. It holds no
// connection between calls.
type Client struct {
	path string
	http *http.Client
}

// Dial returns a client for the socket at path. It does not connect: the first call returns an
// error if no daemon is there.
func Dial(path string) *Client {
	return &Client{path: path, http: &http.Client{
		Timeout: leaveTimeout + 10*time.Second,
		Transport: &http.Transport{
			DisableKeepAlives:  true,
			DisableCompression: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			},
		},
	}}
}

// Status returns the daemon's state.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return get[*Status](ctx, c, "/v1/status")
}

// Peers returns the peers of all interfaces.
func (c *Client) Peers(ctx context.Context) ([]Peer, error) {
	return get[[]Peer](ctx, c, "/v1/peers")
}

// Bindings returns the bindings of all interfaces.
func (c *Client) Bindings(ctx context.Context) ([]Binding, error) {
	return get[[]Binding](ctx, c, "/v1/bindings")
}

// Shortcuts returns the shortcuts of all interfaces.
func (c *Client) Shortcuts(ctx context.Context) ([]Shortcut, error) {
	return get[[]Shortcut](ctx, c, "/v1/shortcuts")
}

// NHS returns the next hop servers of all interfaces.
func (c *Client) NHS(ctx context.Context) ([]NHS, error) { return get[[]NHS](ctx, c, "/v1/nhs") }

// Routes returns the routes of all shortcuts and announced prefixes.
func (c *Client) Routes(ctx context.Context) ([]Route, error) {
	return get[[]Route](ctx, c, "/v1/routes")
}

// SAs returns the SAs of all peers.
func (c *Client) SAs(ctx context.Context) ([]SA, error) { return get[[]SA](ctx, c, "/v1/sas") }

// Explain returns the account of why packets to an address go the way they go. source is the zero
// address for the packets of the daemon's router and of the networks behind it.
func (c *Client) Explain(
	ctx context.Context, destination, source netip.Addr,
) (*Explanation, error) {
	query := url.Values{"destination": {destination.String()}}
	if source.IsValid() {
		query.Set("source", source.String())
	}
	return get[*Explanation](ctx, c, "/v1/explain?"+query.Encode())
}

// Version returns the version of the daemon.
func (c *Client) Version(ctx context.Context) (*VersionInfo, error) {
	return get[*VersionInfo](ctx, c, "/v1/version")
}

// Metrics returns the metrics in the Prometheus text format.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	return c.do(ctx, http.MethodGet, "/metrics", nil)
}

// Leave makes the daemon say goodbye on an interface, or on all if the name is empty, and returns
// when that is done. If the daemon has no such interface, the error wraps ErrNoInterface.
func (c *Client) Leave(ctx context.Context, iface string) error {
	return c.post(ctx, "/v1/leave", LeaveRequest{Interface: iface})
}

// Drain makes the daemon ask the clients of an interface away, or of all if the name is empty, or
// with off no longer do so. Clients go when they next refresh their registrations. If the daemon
// has no such interface, the error wraps ErrNoInterface.
func (c *Client) Drain(ctx context.Context, iface string, off bool) error {
	return c.post(ctx, "/v1/drain", DrainRequest{Interface: iface, Off: off})
}

// Blocked returns the identities that are shut out.
func (c *Client) Blocked(ctx context.Context) ([]Blocked, error) {
	return get[[]Blocked](ctx, c, "/v1/blocked")
}

// Block makes the daemon shut an IKE identity out, for d or, if d is 0, until Unblock. It returns
// when the block is saved and has begun to take effect.
func (c *Client) Block(ctx context.Context, identity string, d time.Duration) error {
	return c.post(ctx, "/v1/block", BlockRequest{Identity: identity, Seconds: d.Seconds()})
}

// Unblock makes the daemon end a block. If there is none, the error is a *[Refusal].
func (c *Client) Unblock(ctx context.Context, identity string) error {
	return c.post(ctx, "/v1/unblock", UnblockRequest{Identity: identity})
}

// SetLog sets the level of the daemon's log.
func (c *Client) SetLog(ctx context.Context, r LogRequest) error {
	return c.post(ctx, "/v1/log", r)
}

// Resolve makes the daemon ask for a direct path to an address now. It returns the account of what
// came of it. If the daemon cannot ask, the error is a *[Refusal].
func (c *Client) Resolve(ctx context.Context, destination netip.Addr) (*Explanation, error) {
	return command[*Explanation](ctx, c, "/v1/resolve", ResolveRequest{destination})
}

// Ping makes the daemon send NHRP packets to the router with an overlay or NBMA address.
func (c *Client) Ping(ctx context.Context, address netip.Addr) (*PingResult, error) {
	return command[*PingResult](ctx, c, "/v1/ping", PingRequest{Address: address})
}

// MeasurePath makes the daemon send NHRP packets to a router as Ping does, and find the longest one
// that passes both ways.
func (c *Client) MeasurePath(ctx context.Context, address netip.Addr) (*PingResult, error) {
	return command[*PingResult](ctx, c, "/v1/ping", PingRequest{Address: address, Search: true})
}

// Clear makes the daemon end the shortcuts, the SAs or the binding that an address is about.
func (c *Client) Clear(
	ctx context.Context, what Clearable, address netip.Addr,
) ([]Cleared, error) {
	return command[[]Cleared](ctx, c, "/v1/clear", ClearRequest{what, address})
}

// Register makes the daemon register at once with the next hop servers of an interface, or of all
// if the name is empty. It returns the state of each.
func (c *Client) Register(ctx context.Context, iface string) ([]NHS, error) {
	return command[[]NHS](ctx, c, "/v1/register", RegisterRequest{iface})
}

// Monitor asks for a copy of each NHRP packet that comes and goes from now on. The caller has to
// read the stream.
func (c *Client) Monitor(ctx context.Context, q MonitorQuery) (*PacketStream, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"http://cygnet/v1/monitor?"+q.values().Encode(), nil)
	if err != nil {
		return nil, err
	}
	stream := http.Client{Transport: c.http.Transport} // without the time limit of other requests
	response, err := stream.Do(request)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if response.StatusCode >= 400 {
		defer response.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(response.Body, maxHeader))
		return nil, refusal(response.StatusCode, body)
	}
	return &PacketStream{ctx, c, response.Body}, nil
}

// PacketStream is a stream of copies of NHRP packets.
type PacketStream struct {
	ctx    context.Context // of the request, whose end is the end of the stream
	client *Client
	body   io.ReadCloser
}

// Read calls f with one packet after the other, until the context of the request ends, the daemon
// ends or f returns an error. The error is nil if the end of the context was the reason.
func (s *PacketStream) Read(f func(*Monitored) error) error {
	defer s.body.Close()
	for d := json.NewDecoder(s.body); ; {
		var p Monitored
		switch err := d.Decode(&p); {
		case s.ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("cygnetd at %s ended the stream: %w", s.client.path, err)
		}
		if err := f(&p); err != nil {
			return err
		}
	}
}

// command sends a request that the daemon carries out, and returns the daemon's answer.
func command[T any](
	ctx context.Context, c *Client, endpoint string, request any,
) (answer T, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return answer, err
	}
	if body, err = c.do(ctx, http.MethodPost, endpoint, body); err != nil {
		return answer, err
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, fmt.Errorf("%s on %s returned an answer that this version does not "+
			"understand: %w", endpoint, c.path, err)
	}
	return answer, nil
}

func (c *Client) post(ctx context.Context, endpoint string, request any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, http.MethodPost, endpoint, body)
	return err
}

func get[T any](ctx context.Context, c *Client, endpoint string) (answer T, err error) {
	body, err := c.do(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, fmt.Errorf("%s on %s returned an answer that this version does not understand: %w", endpoint, c.path, err)
	}
	return answer, nil
}

// do sends a request and returns the body of a successful answer.
func (c *Client) do(ctx context.Context, method, endpoint string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://cygnet"+endpoint,
		bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer of cygnetd at %s: %w", c.path, err)
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("the answer of cygnetd at %s is larger than %d bytes",
			c.path, maxAnswer)
	case response.StatusCode >= 400:
		return nil, refusal(response.StatusCode, answer)
	}
	return answer, nil
}

func refusal(code int, body []byte) error {
	var f Failure
	if err := json.Unmarshal(body, &f); err != nil || f.Error == "" {
		f.Error = "the daemon answered " + http.StatusText(code)
	}
	return &Refusal{Code: code, Message: f.Error}
}

// unreachable explains an error that came before the daemon's answer.
func (c *Client) unreachable(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: there is no socket at %s", ErrNotRunning, c.path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody listens on the socket at %s", ErrNotRunning, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w at %s: be root or in the group that api_group in the daemon's configuration names, or, to look only, api_view_group", ErrPermission, c.path)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("cygnetd takes connections at %s but does not answer: %w",
			c.path, context.DeadlineExceeded)
	}
	return fmt.Errorf("ask cygnetd at %s: %w", c.path, err)
}
