package nhrpd

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/linklocal"
)

// openPath attaches the eBPF programs to a tunnel device. From their first packet on, they admit
// every peer that the engine wants admitted now. openPath returns that list as well: the engine may
// change it before the loop has the channel, and catchUp finds the changes by the list.
func (r *runner) openPath(
	ctx context.Context, index int,
) (datapath.Path, []engine.AdmissionChange, error) {
	cfg := datapath.Config{
		Device:      r.config.Name,
		Index:       index,
		Redirect:    r.config.Redirect,
		Admission:   r.config.Admission,
		SourceCheck: r.config.SourceCheck,
		LinkLocals:  linkLocals(&r.config),
		Client:      len(r.config.NHS) > 0,
		Peers:       r.mostPeers(),
		Links:       2 * r.config.Limits.Links,
	}
	cfg.MSS.IPv4, cfg.MSS.IPv6 = r.config.SegmentSizes()
	var now []engine.AdmissionChange
	err := r.loop.call(ctx, func(time.Time) {
		now = r.loop.engine.Admitted(r.config.Name)
		for _, a := range now {
			cfg.Admitted = append(cfg.Admitted, r.loop.kernelAdmission(a))
		}
		cfg.Adopt = !r.loop.settled
	})
	if err != nil {
		return nil, nil, err
	}
	before := r.config.Admission
	cfg.Changed = func(st datapath.State) {
		r.logEnforced(before, st)
		before = st.Admission
		// The call fails only if the context has ended, and then nobody needs marks.
		_ = r.loop.call(ctx, func(time.Time) { r.iface.pathChanged() })
	}
	path, err := r.platform.AttachDataPath(r.log, cfg)
	st := datapath.State{}
	if err == nil {
		st = path.State()
	}
	r.logEnforced(before, st)
	before = st.Admission
	return path, now, err
}

// linkLocals returns the range of the overlay addresses of an interface if link-local addresses
// belong to them, and else the zero prefix.
func linkLocals(c *config.Interface) netip.Prefix {
	overlay := c.IPv6().Overlay
	if !linklocal.Overlay(overlay).Exist() {
		return netip.Prefix{}
	}
	return overlay
}

// logEnforced logs when the programs stop enforcing admission, and when they enforce it again.
// before is whether they did so until now.
func (r *runner) logEnforced(before bool, st datapath.State) {
	switch {
	case !r.config.Admission || before == st.Admission:
	case st.Admission:
		r.log.Info("admission is enforced")
	default:
		r.log.Warn("admission is not enforced: whoever has an SA may send data through this tunnel, since it has no eBPF")
	}
}

// pathState returns the state of the programs on the tunnel.
func (i *iface) pathState() datapath.State {
	path := i.path()
	if path == nil {
		return datapath.State{}
	}
	return path.State()
}

// admission returns what the status says of admission.
func (i *iface) admission() api.Admission {
	switch {
	case i.channel == nil:
		return ""
	case !i.config.Admission:
		return api.AdmissionOff
	case !i.pathState().Admission:
		return api.AdmissionUnenforced
	case i.config.SourceCheck:
		return api.AdmissionSources
	}
	return api.AdmissionPeers
}

// admissionReason returns why admission is not enforced although the configuration wants it, or
// which programs of others may let data pass before ours run.
func (i *iface) admissionReason() string {
	if i.channel == nil || !i.config.Admission {
		return ""
	}
	st := i.pathState()
	if !st.Admission {
		return st.Reason
	}
	return st.Ahead
}

// mostPeers returns room for all peers that may be admitted at a time under the interface's limits.
// It doubles that number, because an admission stays for a while after its last reason.
func (r *runner) mostPeers() int {
	l := r.config.Limits
	most := l.Shortcuts + l.Answers + len(r.config.Maps) + 2*16*len(r.config.NHS)
	if r.config.Server {
		most += l.Bindings
	}
	return 2 * most
}

// kernelAdmission turns the engine's admission into the kernel's.
func (l *loop) kernelAdmission(c engine.AdmissionChange) datapath.Admission {
	l.names.Use(admissionUse(c.PeerKey), c.ID, c.Delete)
	return datapath.Admission{
		NBMA:   l.names.LinkAddress(c.ID),
		NHS:    c.NHS,
		Shared: c.Shared,
		Delete: c.Delete,
	}
}

// admit hands the engine's changes of admission to the kernel. carryOut calls it before it sends
// packets: a router that a packet tells to send is then admitted already.
func (l *loop) admit() {
	changes := l.out.Admitted
	for len(changes) > 0 {
		device := changes[0].Interface
		var batch []datapath.Admission
		for len(changes) > 0 && changes[0].Interface == device {
			batch = append(batch, l.kernelAdmission(changes[0]))
			changes = changes[1:]
		}
		if i := l.interfaces[device]; i != nil {
			i.admit(batch)
		}
	}
}

// admit hands changes of admission to the programs on the tunnel, if there are any.
func (i *iface) admit(changes []datapath.Admission) {
	path := i.path()
	if path == nil || len(changes) == 0 {
		return
	}
	if err := path.Admit(changes); err != nil && !errors.Is(err, datapath.ErrNoAdmission) {
		i.log.Error("cannot change which peers are admitted: wrong data may be dropped or taken",
			"error", err)
	}
}

// catchUp hands the programs of a new channel what the engine has changed since openPath attached
// them.
func (l *loop) catchUp(i *iface) {
	if i.channel == nil || i.channel.admitted == nil {
		return
	}
	before := make(map[engine.PeerKey]engine.AdmissionChange, len(i.channel.admitted))
	for _, a := range i.channel.admitted {
		before[a.PeerKey] = a
	}
	var changes []datapath.Admission
	for _, a := range l.engine.Admitted(i.name) {
		if have, there := before[a.PeerKey]; !there || have != a {
			changes = append(changes, l.kernelAdmission(a))
		}
		delete(before, a.PeerKey)
	}
	for k := range before {
		changes = append(changes, datapath.Admission{NBMA: l.names.LinkAddress(k.ID), Delete: true})
	}
	i.channel.admitted = nil
	i.admit(changes)
}

// settleAdmission ends the admission of peers that an earlier run left in the kernel and that
// nobody wants now.
func (l *loop) settleAdmission() {
	l.settled = true
	for i := range l.opened() {
		i.completed()
		if i.channel != nil && i.channel.links != nil {
			i.channel.links.Settle()
		}
		path := i.path()
		if path == nil {
			continue
		}
		if err := path.Settle(); err != nil {
			i.log.Warn("cannot end admissions of the last run: their routers may still send data",
				"error", err)
		}
	}
}
