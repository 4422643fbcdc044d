package sim

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/packet"

	"cygnet/nhrpd/engine/peerid"
)

// trace has the last events at a node. It is a ring.
type trace struct {
	entries []entry
	next    int // index of the oldest entry, once the ring is full
}

// entry is one event at a node.
type entry struct {
	at     int64
	what   string
	peer   peerid.ID
	detail string
	notice engine.NoticeKind
	prefix netip.Prefix
}

// traced is how many entries a trace has at most.
const traced = 48

// put adds an entry, in the place of the oldest one if the trace is full.
func (t *trace) put(e entry) {
	if len(t.entries) < traced {
		t.entries = append(t.entries, e)
		return
	}
	t.entries[t.next] = e
	t.next = (t.next + 1) % traced
}

// add adds an entry for an event.
func (t *trace) add(at int64, what string, peer peerid.ID, detail string) {
	t.put(entry{at: at, what: what, peer: peer, detail: detail})
}

// notice adds an entry for a notice of the engine.
func (t *trace) notice(at int64, x *engine.Notice) {
	t.put(entry{
		at:     at,
		what:   "notice",
		peer:   peerid.At(x.NBMA),
		detail: x.Reason,
		notice: x.Kind,
		prefix: x.Prefix,
	})
}

// noticeNames has names for the values of engine.NoticeKind, in their order.
var noticeNames = [...]string{
	"registered", "refused", "unanswered", "bound", "moved", "rejected", "unbound",
	"peer secured", "peer lost", "peer failed", "peer closed",
	"resolving", "shortcut up", "shortcut down", "shortcut denied", "unresolved",
	"nat", "error", "announced", "prefix bound", "prefix unbound", "relayed",
}

// String returns an entry as a line of a violation's trace.
func (e *entry) String() string {
	s := fmt.Sprintf("%14s  %s", time.Duration(e.at), e.what)
	if e.what == "notice" {
		s += " " + noticeName(e.notice)
	}
	if e.prefix.IsValid() {
		s += " " + e.prefix.String()
	}
	if e.peer.IsValid() {
		s += " " + e.peer.String()
	}
	if e.detail != "" {
		s += ": " + e.detail
	}
	return s
}

// noticeName returns the name of a kind of notice, or its number if the kind has no name here.
func noticeName(k engine.NoticeKind) string {
	if int(k) < len(noticeNames) {
		return noticeNames[k]
	}
	return fmt.Sprint(k)
}

// typeOf returns the name of an NHRP packet's message type.
func typeOf(data []byte) string {
	const at = 17 // offset of ar$op.type in the fixed header: RFC 2332 §5.2.0.1
	if len(data) <= at {
		return "no header"
	}
	return packet.Type(data[at]).String()
}

// Violation is a broken rule, with what happened before.
type Violation struct {
	Rule  string
	What  string        // how the rule was broken
	At    time.Duration // virtual time since the start of the run
	Trace string        // the state and the last events of the nodes that are involved
}

// Error returns all that the violation says.
func (v *Violation) Error() string {
	return fmt.Sprintf("after %s: %s\nbroken rule: %s\n%s", v.At, v.What, v.Rule, v.Trace)
}

// violate ends the run because a rule was broken at a node.
func (w *world) violate(rule string, n *node, format string, args ...any) {
	w.violateAt(rule, []*node{n}, n.name+": "+fmt.Sprintf(format, args...))
}

// violateAt ends the run because a rule was broken at several nodes. Only the first violation
// counts.
func (w *world) violateAt(rule string, nodes []*node, what string) {
	if w.failed != nil {
		return
	}
	var b strings.Builder
	for _, n := range nodes {
		n.describe(&b)
	}
	w.failed = &Violation{Rule: rule, What: what, At: time.Duration(w.now), Trace: b.String()}
}

// describe writes a node's state and its last events.
func (n *node) describe(b *strings.Builder) {
	fmt.Fprintf(b,
		"%s (%s, overlay %s, lan %s, up %v, daemon %v, charon %v, left %v, nat %d, marks %v, clock %+v, disturbed until %s)\n",
		n.name, n.public, n.overlay(), n.lan,
		n.up, n.daemonUp, n.charonUp, n.left,
		n.nat, n.canMark, n.offset, time.Duration(n.quietAt))
	if n.daemonUp {
		for _, st := range n.engine.Status() {
			for _, x := range st.NHS {
				fmt.Fprintf(b, "    nhs %+v\n", x)
			}
			for _, x := range st.Shortcuts {
				fmt.Fprintf(b, "    shortcut %+v\n", x)
			}
		}
		fmt.Fprintf(b, "    dropped %v\n", n.engine.Stats().Dropped)
	}
	for i := range n.log.entries {
		fmt.Fprintf(b, "  %s\n", n.log.entries[(n.log.next+i)%len(n.log.entries)].String())
	}
}
