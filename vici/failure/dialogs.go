package failure

import (
	"net/netip"
	"strings"
)

// Attempt is an attempt of another router to dial this end, which failed.
type Attempt struct {
	Local, Remote netip.Addr
	Identity      string // that the router claims; empty: not known
	Reason        Reason
}

// Dialogs combine the lines of charon's log about one IKE_SA each, until they tell that another
// router's attempt failed. The zero value is ready.
type Dialogs struct {
	open map[string]Attempt // by charon's unique id, without a reason
}

// maxDialogs is how many IKE_SAs are remembered.
const maxDialogs = 256

// Line takes a line about the IKE_SA with an id. ok is true if the line tells that the attempt
// failed, and the lines before told who made it.
func (d *Dialogs) Line(id, line string) (failed Attempt, ok bool) {
	if id == "" {
		return Attempt{}, false
	}
	a := d.open[id]
	switch {
	case strings.HasPrefix(line, "received packet: from "):
		a.Remote, a.Local = endpoints(line)
	case strings.HasPrefix(line, "looking for peer configs matching "):
		a.Identity = claimed(line)
	default:
		a.Reason, ok = find(inboundSigns, line)
		return a, ok && a.Remote.IsValid()
	}
	if len(d.open) >= maxDialogs {
		clear(d.open)
	}
	if d.open == nil {
		d.open = make(map[string]Attempt)
	}
	d.open[id] = a
	return Attempt{}, false
}

// endpoints reads "received packet: from REMOTE[PORT] to LOCAL[PORT] (N bytes)".
func endpoints(line string) (remote, local netip.Addr) {
	words := strings.Fields(line)
	if len(words) < 6 {
		return netip.Addr{}, netip.Addr{}
	}
	parse := func(word string) netip.Addr {
		host, _, _ := strings.Cut(word, "[")
		a, _ := netip.ParseAddr(host)
		return a.Unmap()
	}
	return parse(words[3]), parse(words[5])
}

// claimed reads the identity in "looking for peer configs matching LOCAL[ID]...REMOTE[ID]".
func claimed(line string) string {
	_, remote, _ := strings.Cut(line, "...")
	_, identity, _ := strings.Cut(remote, "[")
	return strings.TrimSuffix(identity, "]")
}
