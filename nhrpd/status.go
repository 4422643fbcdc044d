package nhrpd

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"runtime/metrics"
	"time"

	"cygnet/kernel/sysctl"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/espstate"
	"cygnet/nhrpd/health"
	"cygnet/nhrpd/status"
)

// Status returns a copy of everything that the API shows, with the problems that follow from it;
// see api.Daemon. The loop copies its part in one turn, so that part is of one moment.
func (d *Daemon) Status(ctx context.Context) (*api.Status, error) {
	s := &api.Status{Version: api.Version, PID: os.Getpid(), Started: d.started, Memory: memory()}
	var configured config.Config
	var outer map[string][]netip.Addr
	err := d.loop.call(ctx, func(now time.Time) {
		interfaces := d.loop.engine.Status()
		s.Now = now
		d.loop.addStatus(s, interfaces)
		configured, outer = d.loop.configured(), outerAddresses(interfaces)
	})
	if err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	d.clear.AddStatus(s)
	s.Tables = status.Tables(d.tables.Stats())
	charon := d.groups.Status(d.strongswan.Status())
	s.StrongSwan = status.StrongSwan(charon, d.vici)
	s.SAs = status.SAs(d.strongswan.SAs(), charon, d.groups.Shown)
	for i := range s.Interfaces {
		status.MarkReached(s.Interfaces[i].Peers, s.SAs)
	}
	if len(s.Routes) > 0 {
		own, err := d.platform.OwnRoutes()
		status.MarkInstalled(s.Routes, own, err)
	}
	status.AddUse(s.Interfaces, s.SAs)
	byGroup, byPeer := d.strongswan.Traffic()
	status.AddTraffic(s.Interfaces, byGroup, byPeer, d.groups.Of)
	s.Durations = d.took.status()
	s.Durations.Saved = d.state.took.Read()
	d.addAdvice(s)
	d.mismatches.AddReasons(s)
	d.happened.AddStatus(s)
	d.addLogLevels(s)
	s.Problems = append(d.problems.All(), status.RefusedProfiles(charon.Refused)...)
	s.Problems = append(s.Problems, status.Rivals(charon.Rivals)...)
	status.AddFindings(s, d.platform.Network(&configured))
	status.AddFindings(s, d.checks.around(&configured, outer))
	status.AddFindings(s, d.checks.certificates.Findings())
	s.Problems = health.Diagnose(s)
	return s, nil
}

// Events has w get the events that q asks for; see api.EventSource.
func (d *Daemon) Events(ctx context.Context, q api.EventQuery, w api.EventWriter) error {
	return d.happened.Read(ctx, q, w)
}

// addAdvice adds to a status which kernel settings are too small for the peers that there are.
func (d *Daemon) addAdvice(s *api.Status) {
	check := sysctl.CheckConfig{Forwards: true}
	for _, ifc := range s.Interfaces {
		check.Peers += len(ifc.Peers)
	}
	for _, a := range d.platform.Check(check) {
		s.Advice = append(s.Advice, a.String())
	}
}

// SAs returns the SAs with the kernel's byte counts of this moment. charon's own counts come from
// the kernel as well, but charon asks the kernel only now and then. Where the kernel has no state,
// charon's last count stays. SAs returns an error if the kernel cannot be asked; see api.Daemon.
func (d *Daemon) SAs(ctx context.Context) ([]api.SA, error) {
	counted := espstate.NewCounts()
	for _, local := range d.protectedAddresses(ctx) {
		states, err := d.platform.ESPStates(local)
		if err != nil {
			return nil, fmt.Errorf("count the bytes of the SAs: %w", err)
		}
		counted.Add(local, states)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sas := d.strongswan.SAs()
	for i := range sas {
		for n := range sas[i].Children {
			c := &sas[i].Children[n]
			in, out := counted.In[c.SPIIn], counted.Out[c.SPIOut]
			c.BytesIn, c.BytesOut = max(c.BytesIn, in.Bytes), max(c.BytesOut, out.Bytes)
		}
	}
	d.strongswan.Counted(counted.In, counted.Out)
	return status.SAs(sas, d.strongswan.Status(), d.groups.Shown), nil
}

// memory reads the runtime's memory counts. It uses runtime/metrics, which does not stop the
// daemon's goroutines for the reading.
func memory() api.Memory {
	counts := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/allocs:objects"},
	}
	metrics.Read(counts)
	return api.Memory{Heap: counts[0].Value.Uint64(), Allocations: counts[1].Value.Uint64()}
}

// addStatus adds to a status what the loop owns. interfaces is the engine's part.
func (l *loop) addStatus(s *api.Status, interfaces []engine.InterfaceStatus) {
	s.Counters = l.counters()
	s.Routes = []api.Route{}
	for n := range interfaces {
		st := &interfaces[n]
		out := status.Interface(st)
		out.Limits = []api.Limit{}
		if i := l.interfaces[st.Name]; i != nil && i.runner != nil {
			i.addStatus(&out, st.Fill)
			status.AddSharing(&out, l.groups.With(st.Name))
			if i.config.Table == 0 {
				s.Interfaces = append(s.Interfaces, out)
				continue // no routes, since the VRF is not known yet
			}
			s.Routes = append(s.Routes, status.Routes(st, i.config.Table,
				i.config.HostTable, i.config.Metric)...)
		}
		s.Interfaces = append(s.Interfaces, out)
	}
	s.Blocked = status.Blocked(l.engine.Blocked())
}

// addStatus adds to the status of an open interface what the engine does not know.
func (i *iface) addStatus(out *api.Interface, fill engine.Fill) {
	out.Index, out.Up, out.Error = i.state.Index, i.state.Up, i.fault
	out.Dormant, out.Absent, out.VRF = i.state.Dormant, i.state.Absent, i.state.Master
	out.Uplinks = i.uplinkStatus()
	out.MTU, out.MTUAuto, out.OuterDF = i.config.MTU, i.config.AutoMTU, string(i.state.OuterDF)
	if i.config.KeyPort() != 0 {
		out.SAKey = *i.config.Key
	}
	out.MarksError = i.marksFault
	out.Redirect, out.Shortcut = i.config.Redirect, i.config.Shortcut
	path := i.pathState()
	out.Sampling, out.DataPathError = api.Sampling(path.Mode), path.Fault
	if out.MarksError == "" {
		out.MarksError = path.Marks
	}
	counts := i.channel.counts()
	out.DataPathRestored, out.MSSLowered = counts.Restored, counts.MSSLowered
	out.Admission, out.AdmissionReason = i.admission(), i.admissionReason()
	out.Multicast = i.multicast()
	out.Links = i.linksStatus()
	out.Limits = status.Limits(&i.config.Limits, fill)
	i.addAuthorizer(out.Authorizer)
}

// counters returns the engine's counters, together with what was lost on the way to the engine and
// from it.
func (l *loop) counters() api.Counters {
	st := l.engine.Stats()
	dropped := maps.Clone(st.Dropped)
	if dropped == nil {
		dropped = make(map[string]uint64)
	}
	if n := l.offersDropped.Load(); n > 0 {
		dropped["redirect or missing neighbour not looked at: the daemon is busy"] = n
	}
	if n := l.strongswan.Status().OverLimit; n > 0 {
		dropped["SA closed: its identity had more than the configuration allows (limits.sas)"] = n
	}
	for reason, n := range l.sendErrors {
		dropped["not sent: "+reason] += n
	}
	for i := range l.opened() {
		if i.channel != nil {
			i.channel.addDrops(dropped)
		}
	}
	return status.Counters(st, dropped)
}
