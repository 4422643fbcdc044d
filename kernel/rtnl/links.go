package rtnl

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Device is what the reconciler and the mirror of routes need to know about a link.
type Device struct {
	Name    string
	up      bool
	carrier bool
}

// Links holds the links of the network namespace by index.
type Links map[int]Device

// Name returns the name of the link with this index, or "" if there is no such link.
func (t Links) Name(index int) string { return t[index].Name }

// Up returns the indexes of the links that are up, by name.
func (t Links) Up() map[string]int {
	indexes := make(map[string]int, len(t))
	for i, d := range t {
		if d.up {
			indexes[d.Name] = i
		}
	}
	return indexes
}

// Links reads all links of the network namespace.
func (r *Conn) Links() (Links, error) {
	all, err := r.AllLinks()
	if err != nil {
		return nil, err
	}
	t := make(Links, len(all))
	for _, l := range all {
		t[l.Index] = l.device()
	}
	return t, nil
}

// Apply updates t by a link message. It returns the link as it was and as it is now; the zero
// Device means that there is no link.
func (t Links) Apply(m netlink.Message) (before, now Device) {
	l, ok := ParseLink(m)
	if !ok {
		return Device{}, Device{}
	}
	before = t[l.Index]
	if m.Header.Type == unix.RTM_DELLINK {
		delete(t, l.Index)
		return before, Device{}
	}
	now = l.device()
	t[l.Index] = now
	return before, now
}

// device returns what the reconciler and the mirror of routes need to know about the link.
func (l *Link) device() Device { return Device{l.Name, l.Up, l.Carrier} }
