package nhrpd

import (
	"context"
	"errors"
	"time"

	"cygnet/kernel"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
)

// openPath attaches the programs of a tunnel device, with everybody admitted from their first packet on whom the engine wants admitted
// now. What changes until the loop has the line, it finds by the list that openPath keeps.
func (p *port) openPath(ctx context.Context, index int) (kernel.DataPath, []engine.AdmissionChange, error) {
	cfg := kernel.DataPathConfig{
		Device: p.config.Name, Index: index, Redirect: p.config.Redirect,
		Admission: p.config.Admission, SourceCheck: p.config.SourceCheck, Client: len(p.config.NHS) > 0, Peers: p.mostPeers(),
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
	cfg.Changed = func(st kernel.PathState) {
		p.sayEnforced(before, st)
		before = st.Admission
		// The context's end is the only error, and then nobody asks.
		_ = p.loop.call(ctx, func(time.Time) { p.pathChanged() })
	}
	path, err := p.platform.AttachDataPath(p.log, cfg)
	st := kernel.PathState{}
	if err == nil {
		st = path.State()
	}
	p.sayEnforced(before, st)
	before = st.Admission
	return path, now, err
}

// sayEnforced logs that admission, which was enforced before or not, is so no longer, or again.
func (p *port) sayEnforced(before bool, st kernel.PathState) {
	switch {
	case !p.config.Admission || before == st.Admission:
	case st.Admission:
		p.log.Info("admission is enforced")
	default:
		p.log.Warn("admission is not enforced: whoever has an SA may send data through this tunnel, since eBPF is not to be had on it")
	}
}

// pathChanged has marks tried again where they could not be had: the reason may have gone. It runs
// on the loop.
func (p *port) pathChanged() {
	if p.marksFault != "" {
		p.askMarks()
	}
}

// pathState tells what of the programs on the tunnel holds. It runs on the loop.
func (p *port) pathState() kernel.PathState {
	if p.line == nil || p.line.path == nil {
		return kernel.PathState{}
	}
	return p.line.path.State()
}

// admission is the status of admission. It runs on the loop.
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

// admissionReason tells why admission is not what the configuration wants, or what about it fails.
// It runs on the loop.
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

// mostPeers is room for all that the limits let be admitted, those included whose admission is about to end.
func (p *port) mostPeers() int {
	l := p.config.Limits
	most := l.Shortcuts + l.Answers + len(p.config.Maps) + 16*len(p.config.NHS)
	if p.config.Server {
		most += l.Bindings
	}
	return 2 * most
}

func kernelAdmission(c engine.AdmissionChange) kernel.Admission {
	return kernel.Admission{NBMA: c.NBMA, NHS: c.NHS, Shared: c.Shared, Delete: c.Delete}
}

// admit hands the engine's changes to the kernel. They come before packets: whoever is told that it may send can.
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
	if len(l.out.Admitted) > 0 {
		l.saveSoon() // a restart that does not know them would drop their data
	}
}

func (p *port) admit(ln *line, changes []kernel.Admission) {
	if ln.path == nil || len(changes) == 0 {
		return
	}
	if err := ln.path.Admit(changes); err != nil && !errors.Is(err, kernel.ErrNoAdmission) {
		p.log.Error("data of some peers is dropped, or taken, that should not be", "error", err)
	}
}

// catchUp carries out what changed between the attaching of the programs and now. It runs on the loop.
func (p *port) catchUp(ln *line) {
	if ln == nil || ln.admitted == nil {
		return
	}
	before := make(map[engine.PeerKey]engine.AdmissionChange, len(ln.admitted))
	for _, a := range ln.admitted {
		before[a.PeerKey] = a
	}
	var changes []kernel.Admission
	for _, a := range p.loop.engine.Admitted(p.config.Name) {
		if have, there := before[a.PeerKey]; !there || have != a {
			changes = append(changes, kernelAdmission(a))
		}
		delete(before, a.PeerKey)
	}
	for k := range before {
		changes = append(changes, kernel.Admission{NBMA: k.NBMA, Delete: true})
	}
	ln.admitted = nil
	p.admit(ln, changes)
}

// settleAdmission stops admitting those of before the restart whom nobody wants admitted. It runs on the loop.
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
