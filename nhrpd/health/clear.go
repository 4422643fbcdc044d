package health

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// clear reports GRE without IPsec: how much there was, what lets it pass, and where it is not
// stopped.
func (r *reporter) clear(c *api.ClearGRE, now time.Time) {
	if c == nil {
		return
	}
	for i := range c.Leaks {
		l := &c.Leaks[i]
		text, remedy := leak(l, c.Causes, now)
		r.error(api.ProblemGREInClear, l.Peer.String(), text, remedy)
	}
	for _, cause := range c.Causes {
		r.error(api.ProblemClearCause, cause, cause, "")
	}
	switch {
	case c.Error != "" && len(c.Devices) == 0:
		r.warn(api.ProblemClearUnfiltered, "", "only IPsec policies keep GRE from leaving in clear: "+c.Error, "")
	case c.Error != "":
		where := "some devices"
		if len(c.Missing) > 0 {
			where = strings.Join(c.Missing, ", ")
		}
		r.warn(api.ProblemClearUnfiltered, where, fmt.Sprintf("only IPsec policies keep GRE from leaving in clear by %s: %s", where, c.Error), "")
	}
}

// leak describes a leak. It also names those of its causes that no longer exist.
func leak(l *api.ClearLeak, causes []string, now time.Time) (text, remedy string) {
	last := wording.Span(now.Sub(l.Last)) + " ago"
	text = wording.Packets(l.Packets) + fmt.Sprintf(
		" of GRE LEFT IN CLEAR for peer %s, the last %s: no ESP state took them", l.Peer, last)
	if l.Stopped {
		text = fmt.Sprintf("GRE for peer %s comes out of the kernel in clear: "+
			"%s stopped at %s, the last %s", l.Peer, wording.Packets(l.Packets), l.Device, last)
	}
	for _, cause := range l.Causes {
		if !slices.Contains(causes, cause) {
			text += "; found then: " + cause
		}
	}
	if len(l.Causes) > 0 {
		return text, ""
	}
	return text + "; no IPsec policy and no sysctl explains it", fmt.Sprintf("look at \"ip route get %s\", \"ip xfrm policy\" and "+
		"\"tc filter show\" of the devices, and for programs that send GRE themselves, or hosts whose GRE is translated to this address", l.Peer)
}
