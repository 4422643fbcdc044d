package engine

import (
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/report"
)

// restoreGrace is how long restored bindings and shortcuts wait for strongSwan to report that their
// peers are secured.
const restoreGrace = 10 * time.Second

// Save returns a copy of the state that outlives a restart: the addresses of the NHSs, the bindings
// of clients, the shortcuts that are up, the answers that others rely on, and which identities own
// addresses or are away.
func (e *Engine) Save() report.Saved {
	s := report.Saved{At: e.router.Now}
	for _, ifc := range e.interfaces() {
		saved := report.SavedInterface{
			Name:      ifc.Config.Name,
			NBMA:      ifc.Known,
			Second:    ifc.KnownSecond,
			Protected: ifc.Config.Protected,
		}
		if ifc.Config.SAGroup != ifc.Config.Name {
			saved.SAGroup = ifc.Config.SAGroup
		}
		for _, n := range ifc.client.NHS {
			saved.NHS = append(saved.NHS, n.Saved()...)
		}
		saved.Bindings = ifc.server.SaveBindings()
		saved.Shortcuts = ifc.Requester.SaveShortcuts()
		saved.Answers = ifc.Responder.SaveAnswers()
		saved.Owners = ifc.server.Owners.Save()
		saved.Away = ifc.server.Away.Save()
		s.Interfaces = append(s.Interfaces, saved)
	}
	return s
}

// Restore takes over the state that Save returned before a restart. The caller runs it after the
// first Configure. The engine asks for the neighbours and routes at once, so that traffic goes on.
// What was not confirmed ends 10 seconds after the first PeersSecured. If that lacks the peer of a
// restored binding, strongSwan was restarted as well, and the time is 30 seconds.
func (e *Engine) Restore(now time.Time, s report.Saved, out *output.Output) {
	e.router.Enter(now, out)
	changed := out.StateChanged
	for _, saved := range s.Interfaces {
		ifc := e.ifaces[saved.Name]
		if ifc == nil || ifc.Left {
			continue
		}
		ifc.Known, ifc.KnownSecond = saved.NBMA, saved.Second
		for i := range saved.NHS {
			ifc.client.RestoreNHS(&saved.NHS[i])
		}
		for i := range saved.Bindings {
			ifc.server.RestoreBinding(&saved.Bindings[i])
		}
		for i := range saved.Bindings {
			ifc.server.RestoreReserve(saved.Bindings[i].Protocol, saved.Bindings[i].Reserve)
		}
		for i := range saved.Shortcuts {
			ifc.Requester.RestoreShortcut(&saved.Shortcuts[i])
		}
		for i := range saved.Answers {
			ifc.Responder.RestoreAnswer(&saved.Answers[i])
		}
		ifc.server.Owners.Restore(saved.Owners)
		ifc.server.Away.Restore(saved.Away)
		if !ifc.Config.Protected {
			e.router.Timers.Set(&ifc.grace, e.router.Now.Add(restoreGrace))
		}
	}
	out.StateChanged = changed // the caller has what was restored
	e.finish()
}

// endUnconfirmed ends the restored bindings, shortcuts and neighbours of NHSs whose peers are not
// secured, and the restored shortcuts that no route leads to.
func (ifc *iface) endUnconfirmed() {
	ifc.Requester.EndUnconfirmed()
	ifc.client.WithdrawUnsecured()
	ifc.server.EndUnconfirmed()
}
