package ike

import (
	"maps"
	"sync"
	"time"
)

// Traffic is what SAs carried, as ESP states count it.
type Traffic struct{ BytesIn, BytesOut, PacketsIn, PacketsOut uint64 }

// add adds other traffic.
func (t *Traffic) add(o Traffic) {
	t.BytesIn += o.BytesIn
	t.BytesOut += o.BytesOut
	t.PacketsIn += o.PacketsIn
	t.PacketsOut += o.PacketsOut
}

// since returns how much t exceeds an earlier count of the same. A count that is smaller is an old
// one that came late; it does not exceed.
func (t Traffic) since(before Traffic) Traffic {
	more := func(now, then uint64) uint64 { return now - min(now, then) }
	return Traffic{more(t.BytesIn, before.BytesIn), more(t.BytesOut, before.BytesOut),
		more(t.PacketsIn, before.PacketsIn), more(t.PacketsOut, before.PacketsOut)}
}

// greatest returns the larger of each count.
func (t Traffic) greatest(o Traffic) Traffic {
	return Traffic{max(t.BytesIn, o.BytesIn), max(t.BytesOut, o.BytesOut),
		max(t.PacketsIn, o.PacketsIn), max(t.PacketsOut, o.PacketsOut)}
}

// Ledger adds up what the SAs of each interface and of each peer carried since a time. Its sums
// never become smaller: not when a child is rekeyed, nor when an SA ends, nor when charon is
// restarted. It counts what each child carried since it last heard of that child. Any goroutine may
// call its methods.
type Ledger struct {
	mu         sync.Mutex
	began      time.Time
	seen       map[pair]Traffic // what each child had carried when it was last heard of
	interfaces map[string]Traffic
	peers      map[Key]Traffic
}

// pair names a child whichever charon made it: SPIs are random.
type pair struct {
	iface   string
	in, out uint32
}

// mostPeers bounds the peers whose sums are kept after their SAs have ended.
const mostPeers = 10_000

// NewLedger returns a ledger of what is carried from now on.
func NewLedger(now time.Time) *Ledger {
	return &Ledger{began: now, seen: map[pair]Traffic{}, interfaces: map[string]Traffic{},
		peers: map[Key]Traffic{}}
}

// Count enters what children of a peer have carried by now. Of a child that is older than the
// ledger, it does not count what that child had carried when the ledger first heard of it.
func (l *Ledger) Count(k Key, children []Child) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range children {
		c := &children[i]
		name := pair{k.Interface, c.SPIIn, c.SPIOut}
		now := Traffic{c.BytesIn, c.BytesOut, c.PacketsIn, c.PacketsOut}
		before, known := l.seen[name]
		l.seen[name] = now.greatest(before)
		if !known && c.Installed.Before(l.began) && !c.Installed.IsZero() {
			before = now
		}
		l.carried(k, now.since(before))
	}
}

// carried adds traffic to the sums of a peer and its interface.
func (l *Ledger) carried(k Key, more Traffic) {
	whole := l.interfaces[k.Interface]
	whole.add(more)
	l.interfaces[k.Interface] = whole
	sum, known := l.peers[k]
	if !known && len(l.peers) >= 2*mostPeers {
		return
	}
	sum.add(more)
	l.peers[k] = sum
}

// Forget forgets the children that none of these SAs has. It forgets the sums of peers without an
// SA only if there are too many.
func (l *Ledger) Forget(sas map[uint32]*SA) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen, here := make(map[pair]Traffic, len(l.seen)), make(map[Key]bool, len(sas))
	for _, sa := range sas {
		here[sa.Key()] = true
		for i := range sa.Children {
			name := pair{sa.Interface, sa.Children[i].SPIIn, sa.Children[i].SPIOut}
			if before, known := l.seen[name]; known {
				seen[name] = before
			}
		}
	}
	l.seen = seen
	if len(l.peers) > mostPeers {
		maps.DeleteFunc(l.peers, func(k Key, _ Traffic) bool { return !here[k] })
	}
}

// Read returns copies of the sums: of interfaces, and of peers.
func (l *Ledger) Read() (map[string]Traffic, map[Key]Traffic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.interfaces), maps.Clone(l.peers)
}
