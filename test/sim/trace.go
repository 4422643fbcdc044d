package sim

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/packet"
)

// trace is the last that happened at a node.
type trace struct {
	entries []entry
	next    int
}

type entry struct {
	at     int64
	what   string
	peer   netip.Addr
	detail string
	notice engine.NoticeKind
	prefix netip.Prefix
}

const traced = 48

func (t *trace) put(e entry) {
	if len(t.entries) < traced {
		t.entries = append(t.entries, e)
		return
	}
	t.entries[t.next] = e
	t.next = (t.next + 1) % traced
}

func (t *trace) add(at int64, what string, peer netip.Addr, detail string) {
	t.put(entry{at: at, what: what, peer: peer, detail: detail})
}

func (t *trace) notice(at int64, x *engine.Notice) {
	t.put(entry{at: at, what: "notice", peer: x.NBMA, detail: x.Reason, notice: x.Kind, prefix: x.Prefix})
}

var noticeNames = [...]string{"registered", "refused", "unanswered", "bound", "moved", "rejected", "unbound", "peer secured", "peer lost",
	"peer failed", "peer closed", "resolving", "shortcut up", "shortcut down", "shortcut denied", "unresolved", "nat", "error",
	"announced", "prefix bound", "prefix unbound", "relayed"}

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

func noticeName(k engine.NoticeKind) string {
	if int(k) < len(noticeNames) {
		return noticeNames[k]
	}
	return fmt.Sprint(k)
}

// typeOf names the message type of an NHRP packet.
func typeOf(data []byte) string {
	const at = 17 // of the fixed header: RFC 2332 §5.2.0.1
	if len(data) <= at {
		return "no header"
	}
	return packet.Type(data[at]).String()
}

// Violation is a rule that was broken, with what led to it.
type Violation struct {
	Rule  string
	What  string
	At    time.Duration
	Trace string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("after %s: %s\nbroken rule: %s\n%s", v.At, v.What, v.Rule, v.Trace)
}

// violate ends the run: a rule was broken at a node.
func (w *world) violate(rule string, n *node, format string, args ...any) {
	w.violateAt(rule, []*node{n}, n.name+": "+fmt.Sprintf(format, args...))
}

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

func (n *node) describe(b *strings.Builder) {
	fmt.Fprintf(b, "%s (%s, overlay %s, lan %s, up %v, daemon %v, charon %v, left %v, nat %d, marks %v, clock %+v, disturbed until %s)\n", n.name, n.public, n.overlay(),
		n.lan, n.up, n.daemonUp, n.charonUp, n.left, n.nat, n.canMark, n.offset, time.Duration(n.quietAt))
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
