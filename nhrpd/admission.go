package nhrpd

import (
	"context"
	"errors"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
)

// openPath attaches the eBPF programs to a tunnel device. From their first packet on, they admit
// every peer that the engine wants admitted now. openPath returns that list as well: the engine may
// change it before the loop has the line, and catchUp finds the changes by the list.
func (p *port) openPath(
	ctx context.Context, index int,
) (datapath.Path, []engine.AdmissionChange, error) {
	cfg := datapath.Config{
		Device:      p.config.Name,
		Index:       index,
		Redirect:    p.config.Redirect,
		Admission:   p.config.Admission,
		SourceCheck: p.config.SourceCheck,
		Client:      len(p.config.NHS) > 0,
		Peers:       p.mostPeers(),
	}
	var now []engine.AdmissionChange
	err := p.loop.call(ctx, func(time.Time) {
		now = p.loop.engine.Admitted(p.config.Name)
		cfg.Adopt = !p.loop.settled
	})
	if err != nil {
		return nil, nil, err
	}
	for _, a := range now {
		cfg.Admitted = append(cfg.Admitted, kernelAdmission(a))
	}
	before := p.config.Admission
	cfg.Changed = func(st datapath.State) {
		p.sayEnforced(before, st)
		before = st.Admission
		// The call fails only if the context has ended, and then nobody needs marks.
		_ = p.loop.call(ctx, func(time.Time) { p.pathChanged() })
	}
	path, err := p.platform.AttachDataPath(p.log, cfg)
	st := datapath.State{}
	if err == nil {
		st = path.State()
	}
	p.sayEnforced(before, st)
	before = st.Admission
	return path, now, err
}

// sayEnforced logs when the programs stop enforcing admission, and when they enforce it again.
// before tells whether they did so until now.
func (p *port) sayEnforced(before bool, st datapath.State) {
	switch {
	case !p.config.Admission || before == st.Admission:
	case st.Admission:
		p.log.Info("admission is enforced")
	default:
		p.log.Warn("admission is not enforced: whoever has an SA may send data through this tunnel, since eBPF is not to be had on it")
	}
}

// pathChanged has marks tried again if the kernel could not give any: the reason may be gone. It
// runs on the loop.
func (p *port) pathChanged() {
	if p.marksFault != "" {
		p.askMarks()
	}
}

// pathState returns the state of the programs on the tunnel. It runs on the loop.
func (p *port) pathState() datapath.State {
	if p.line == nil || p.line.path == nil {
		return datapath.State{}
	}
	return p.line.path.State()
}

// admission returns what the status says of admission. It runs on the loop.
func (p *port) admission() api.Admission {
	switch {
	case p.line == nil:
		return ""
	case !p.config.Admission:
		return api.AdmissionOff
	case !p.pathState().Admission:
		return api.AdmissionUnenforced
	case p.config.SourceCheck:
		return api.AdmissionSources
	}
	return api.AdmissionPeers
}

// admissionReason returns why admission is not enforced although the configuration wants it, or
// which programs of others may let data pass before ours run. It runs on the loop.
func (p *port) admissionReason() string {
	if p.line == nil || !p.config.Admission {
		return ""
	}
	if st := p.pathState(); !st.Admission {
		return st.Reason
	} else {
		return st.Ahead
	}
}

// mostPeers returns room for all peers that may be admitted at a time under the interface's limits.
// It doubles that number, because an admission stays for a while after its last reason.
func (p *port) mostPeers() int {
	l := p.config.Limits
	most := l.Shortcuts + l.Answers + len(p.config.Maps) + 16*len(p.config.NHS)
	if p.config.Server {
		most += l.Bindings
	}
	return 2 * most
}

// kernelAdmission turns the engine's admission into the kernel's.
func kernelAdmission(c engine.AdmissionChange) datapath.Admission {
	return datapath.Admission{NBMA: c.NBMA, NHS: c.NHS, Shared: c.Shared, Delete: c.Delete}
}

// admit hands the engine's changes of admission to the kernel. carryOut calls it before it sends
// packets: a router that a packet tells to send is then admitted already.
func (l *loop) admit() {
	changes := l.out.Admitted
	for len(changes) > 0 {
		device := changes[0].Interface
		batch := l.admitting[:0]
		for len(changes) > 0 && changes[0].Interface == device {
			batch = append(batch, kernelAdmission(changes[0]))
			changes = changes[1:]
		}
		if p := l.ports[device]; p != nil && p.line != nil {
			p.admit(p.line, batch)
		}
		l.admitting = batch
	}
}

// admit hands changes of admission to the programs of a line.
func (p *port) admit(ln *line, changes []datapath.Admission) {
	if ln.path == nil || len(changes) == 0 {
		return
	}
	if err := ln.path.Admit(changes); err != nil && !errors.Is(err, datapath.ErrNoAdmission) {
		p.log.Error("data of some peers is dropped, or taken, that should not be", "error", err)
	}
}

// catchUp hands the programs of a line what the engine has changed since openPath attached them. It
// runs on the loop.
func (p *port) catchUp(ln *line) {
	if ln == nil || ln.admitted == nil {
		return
	}
	before := make(map[engine.PeerKey]engine.AdmissionChange, len(ln.admitted))
	for _, a := range ln.admitted {
		before[a.PeerKey] = a
	}
	var changes []datapath.Admission
	for _, a := range p.loop.engine.Admitted(p.config.Name) {
		if have, there := before[a.PeerKey]; !there || have != a {
			changes = append(changes, kernelAdmission(a))
		}
		delete(before, a.PeerKey)
	}
	for k := range before {
		changes = append(changes, datapath.Admission{NBMA: k.NBMA, Delete: true})
	}
	ln.admitted = nil
	p.admit(ln, changes)
}

// settleAdmission ends the admission of peers that an earlier run left in the kernel and that
// nobody wants now. It runs on the loop.
func (l *loop) settleAdmission() {
	l.settled = true
	for _, p := range l.ports {
		if p.line == nil || p.line.path == nil {
			continue
		}
		if err := p.line.path.Settle(); err != nil {
			p.log.Warn("routers of before the restart may still send data", "error", err)
		}
	}
}
