package nhrpd

// followNHSs has the operational state of each tunnel with if_state follow whether any NHS is
// usable, so that routing daemons that follow the state use other routes while none is. Until an
// NHS is usable for the first time, or the time has passed in which a registration may be under way
// after a start, the state stays as an earlier run left it: a restart of the daemon must not look
// like the loss of the hub.
func (l *loop) followNHSs() {
	for i := range l.opened() {
		if !i.config.IfState {
			continue
		}
		usable := l.engine.AnyUsableNHS(i.name)
		if usable || l.settled || i.usable {
			i.usable = i.usable || usable
			i.runner.tunnel.SetDormant(!usable)
		}
	}
}
