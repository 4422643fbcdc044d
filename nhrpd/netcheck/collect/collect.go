// Package collect finds the facts for netcheck: it asks the daemon, charon, the kernel and the
// resolver, and the NHSs by probes. It changes nothing.
package collect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/explain"
	"cygnet/nhrpd/netcheck"
	"cygnet/nhrpd/uplink/ikeprobe"
)

// The longest times that the parts take.
const (
	lookupTime  = 5 * time.Second
	askTime     = 4 * time.Second // for both ports of an NHS
	statusTime  = 10 * time.Second
	measureTime = 25 * time.Second // for one NHS; the daemon gives up earlier
	// atOnce is how many NHSs are asked at a time.
	atOnce = 8
)

// Daemon is what the collector asks the daemon for; api.Client has it.
type Daemon interface {
	Status(ctx context.Context) (*api.Status, error)
	SAs(ctx context.Context) ([]api.SA, error)
	MeasurePath(ctx context.Context, address netip.Addr) (*api.PingResult, error)
}

// Collector finds the facts.
type Collector struct {
	Host   Host
	Daemon Daemon
	Charon explain.Charon // asked while the daemon does not answer
	Kernel explain.Kernel
	Config *config.Config // nil: the file cannot be used
	// Certificates has what is wrong with the certificates, by interface.
	Certificates map[string][]netcheck.Certificate
	// Only selects: names of interfaces, and names or addresses of NHSs; empty: all.
	Only []string
	// Progress is told what is done next.
	Progress func(format string, args ...any)

	status *api.Status // nil: the daemon does not answer
	before []api.SA
	listed error // why before could not be had
}

// Collect fills in the facts of a report. The error is about Only.
func (c *Collector) Collect(ctx context.Context, r *netcheck.Report) error {
	c.askDaemon(ctx, r)
	r.Tunnels = c.tunnels()
	if err := c.choose(r); err != nil {
		return err
	}
	r.Clock = c.Host.Clock()
	c.listSAs(ctx, r)
	c.probeAll(ctx, r)
	c.measureAll(ctx, r)
	c.addNAT(r)
	return nil
}

// askDaemon gets the daemon's status.
func (c *Collector) askDaemon(ctx context.Context, r *netcheck.Report) {
	c.Progress("asking cygnetd")
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	status, err := c.Daemon.Status(ctx)
	if err != nil {
		r.DaemonError = err.Error()
		return
	}
	c.status = status
}

// choose leaves out what Only does not name.
func (c *Collector) choose(r *netcheck.Report) error {
	if len(c.Only) == 0 {
		return nil
	}
	used := make(map[string]bool)
	named := func(words ...string) bool {
		found := false
		for _, w := range words {
			if slices.Contains(c.Only, w) {
				used[w], found = true, true
			}
		}
		return found
	}
	r.Tunnels = slices.DeleteFunc(r.Tunnels, func(t netcheck.Tunnel) bool {
		return !named(t.Interface) && !slices.ContainsFunc(t.Servers, func(s netcheck.Server) bool {
			return named(s.Name, s.Address.String(), s.Protocol.String())
		})
	})
	for n := range r.Tunnels {
		t := &r.Tunnels[n]
		if !named(t.Interface) {
			t.Servers = slices.DeleteFunc(t.Servers, func(s netcheck.Server) bool {
				return !named(s.Name, s.Address.String(), s.Protocol.String())
			})
		}
	}
	for _, w := range c.Only {
		if !used[w] {
			return fmt.Errorf("there is no interface and no NHS %q", w)
		}
	}
	return nil
}

// listSAs gets the SAs, of the daemon or else of charon, and whether charon answers.
func (c *Collector) listSAs(ctx context.Context, r *netcheck.Report) {
	r.Charon.Needed = slices.ContainsFunc(r.Tunnels,
		func(t netcheck.Tunnel) bool { return t.Protected })
	if !r.Charon.Needed {
		return
	}
	c.before, c.listed = c.sas(ctx)
	switch {
	case c.status == nil && c.listed != nil:
		r.Charon.Error = c.listed.Error()
	case c.status != nil && !c.status.StrongSwan.Connected:
		r.Charon.Error = c.status.StrongSwan.Error
	case c.status != nil:
		r.Charon.Version = c.status.StrongSwan.Version
	}
}

func (c *Collector) sas(ctx context.Context) ([]api.SA, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	if c.status != nil {
		return c.Daemon.SAs(ctx)
	}
	return c.Charon(ctx)
}

// probeAll looks up names and routes and asks the ports of IKE, of several NHSs at a time.
func (c *Collector) probeAll(ctx context.Context, r *netcheck.Report) {
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for n := range r.Tunnels {
		t := &r.Tunnels[n]
		for m := range t.Servers {
			s := &t.Servers[m]
			c.Progress("%s: looking up %s, and asking it for IKE", t.Interface, s.Name)
			slots <- struct{}{}
			all.Go(func() {
				c.probe(ctx, t, s)
				<-slots
			})
		}
	}
	all.Wait()
}

// probe looks up the name of an NHS and the route to it, and asks its ports for IKE.
func (c *Collector) probe(ctx context.Context, t *netcheck.Tunnel, s *netcheck.Server) {
	if _, err := netip.ParseAddr(s.Name); err != nil {
		s.Resolved = c.resolve(ctx, s.Name)
		s.Resolved.Used = c.used(t.Interface, s.Name)
		if !s.Address.IsValid() {
			s.Address = usable(t, s.Resolved)
		}
	}
	if !s.Address.IsValid() {
		return
	}
	local, vrf := localTo(t, s.Address), c.vrf(t.Interface)
	way := c.Host.Way(s.Address, local, vrf)
	s.Way = &way
	if t.Protected {
		s.Ports = c.ask(ctx, vrf, local, s.Address)
	}
}

// resolve asks the resolver for both kinds of addresses of a name.
func (c *Collector) resolve(ctx context.Context, name string) *netcheck.Resolved {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	found := &netcheck.Resolved{Resolvers: c.Host.Resolvers(), IPv4: []netip.Addr{},
		IPv6: []netip.Addr{}}
	begun := time.Now()
	v4, err4 := c.Host.Lookup(ctx, "ip4", name)
	v6, err6 := c.Host.Lookup(ctx, "ip6", name)
	found.Seconds = time.Since(begun).Seconds()
	for _, a := range v4 {
		found.IPv4 = append(found.IPv4, a.Unmap())
	}
	found.IPv6 = append(found.IPv6, v6...)
	switch {
	case len(v4)+len(v6) > 0:
	case err4 != nil && (err6 == nil || notFound(err6) || !notFound(err4)):
		found.Error = err4.Error()
	case err6 != nil:
		found.Error = err6.Error()
	default:
		found.Error = "it has none"
	}
	return found
}

// ask asks both ports of IKE at the same time.
func (c *Collector) ask(
	ctx context.Context, device string, local, to netip.Addr,
) []netcheck.Port {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	ports := []netcheck.Port{{Port: ikeprobe.PortIKE}, {Port: ikeprobe.PortNAT}}
	var both sync.WaitGroup
	for n := range ports {
		both.Go(func() {
			p := &ports[n]
			outcome, took, err := c.Host.Ask(ctx, device, local,
				netip.AddrPortFrom(to, uint16(p.Port)))
			p.Outcome = string(outcome)
			if outcome == ikeprobe.Answered {
				p.Seconds = took.Seconds()
			}
			if err != nil {
				p.Error = err.Error()
			}
		})
	}
	both.Wait()
	return ports
}

// measureAll measures the ways through the tunnels, one after the other, and compares the bytes of
// the SAs with those before.
func (c *Collector) measureAll(ctx context.Context, r *netcheck.Report) {
	probed := make(map[netip.Addr]bool)
	for n := range r.Tunnels {
		t := &r.Tunnels[n]
		for m := range t.Servers {
			s := &t.Servers[m]
			if s.Use == string(api.NHSUseReserve) || !s.Address.IsValid() {
				continue
			}
			c.Progress("%s: measuring the way to %s through the tunnel", t.Interface, s.Name)
			s.Size = c.measure(ctx, s)
			probed[s.Address] = s.Size.Error == ""
		}
	}
	after, err := c.sas(ctx)
	if err != nil {
		after = c.before
	}
	for n := range r.Tunnels {
		t := &r.Tunnels[n]
		for m := range t.Servers {
			if s := &t.Servers[m]; t.Protected && s.Address.IsValid() {
				s.ESP = c.esp(t, s, after)
				s.ESP.Probed = probed[s.Address]
			}
		}
	}
}

// measure has the daemon find the longest packet that passes to an NHS and back.
func (c *Collector) measure(ctx context.Context, s *netcheck.Server) *netcheck.Size {
	if c.status == nil {
		return &netcheck.Size{Error: "only cygnetd can send through the tunnel"}
	}
	to := s.Protocol
	if !to.IsValid() {
		to = s.Address
	}
	ctx, cancel := context.WithTimeout(ctx, measureTime)
	defer cancel()
	result, err := c.Daemon.MeasurePath(ctx, to)
	switch {
	case errors.Is(err, api.ErrPermission), isForbidden(err):
		return &netcheck.Size{Error: "this user may not have packets sent: be root or in api_group"}
	case err != nil:
		return &netcheck.Size{Error: err.Error()}
	}
	size := &netcheck.Size{MTU: result.MTU}
	size.Passed, size.Lost = result.Longest()
	for _, trip := range result.Trips {
		if trip.Size > 0 {
			size.Packets++
		}
		if trip.Answered() && size.Seconds == 0 {
			size.Seconds, size.Plain = trip.Seconds, trip.Plain
		}
	}
	if size.Packets == 0 {
		size.Error = "it has no SA, so that nothing could be sent"
	}
	return size
}

// isForbidden reports whether the daemon refused because this user may only look.
func isForbidden(err error) bool {
	var refusal *api.Refusal
	return errors.As(err, &refusal) && refusal.Code == http.StatusForbidden
}

// esp returns what charon and the kernel have of the SAs with an NHS.
func (c *Collector) esp(t *netcheck.Tunnel, s *netcheck.Server, after []api.SA) *netcheck.ESP {
	e := &netcheck.ESP{}
	if c.listed != nil {
		e.Error = c.listed.Error()
	}
	_, in, out := carried(c.before, s.Address)
	var children int
	children, e.In, e.Out = carried(after, s.Address)
	e.SA = children > 0
	if e.In >= in && e.Out >= out {
		e.NewIn, e.NewOut = e.In-in, e.Out-out
	}
	for _, sa := range explain.With(after, explain.Peer{NBMA: s.Address, AnyMark: true}) {
		for _, child := range sa.Children {
			e.InUDP = e.InUDP || child.InUDP
		}
	}
	if p := c.peer(t.Interface, s.Address); p != nil && e.Error == "" {
		e.Error = p.Error
	}
	// Only root may read these.
	states, err := c.Kernel.StatesWith([]netip.Addr{t.Address, t.Second},
		explain.Peer{NBMA: s.Address, AnyMark: true})
	if err != nil {
		return e
	}
	for _, state := range states {
		e.KernelUDP = e.KernelUDP || state.InUDP
		if state.Out {
			e.KernelOut++
		} else {
			e.KernelIn++
		}
	}
	return e
}

// carried returns how many CHILD_SAs there are with an address, and the bytes through them.
func carried(sas []api.SA, remote netip.Addr) (children int, in, out uint64) {
	for _, sa := range explain.With(sas, explain.Peer{NBMA: remote, AnyMark: true}) {
		for _, child := range sa.Children {
			children++
			in += child.TotalIn
			out += child.TotalOut
		}
	}
	return children, in, out
}
