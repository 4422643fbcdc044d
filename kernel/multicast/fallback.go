package multicast

import (
	"errors"
	"fmt"
)

// errMarked means that user space does not send to peers with marks.
var errMarked = errors.New("without eBPF peers behind one NAT address get nothing that is sent to groups")

// chooseMode has user space replicate, or stop, and returns what is wrong with user space. It
// replicates only if the programs have never been on the tunnel: if somebody removes them later,
// they are put back. keeping is held.
func (r *Replicator) chooseMode() error {
	wanted := r.cfg.Mode == ModeUserSpace || r.cfg.Mode == "" && !r.placed
	r.mu.Lock()
	lost := r.lost
	r.lost = nil
	r.mu.Unlock()
	if r.user != nil && (!wanted || lost != nil) {
		lost = errors.Join(lost, r.endUserSpace())
	}
	if !wanted || r.user != nil {
		return lost
	}
	// A chain of an earlier run would take every packet, and never learn of new peers.
	if err := Detach(r.cfg.Device); err != nil {
		return err
	}
	u, err := openUserSpace(&r.cfg, r.newPeers, r.userSpaceLost)
	if err != nil {
		return fmt.Errorf("replicate on %s in user space: %w", r.cfg.Device, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.user = u
	return nil
}

// newPeers returns the list of peers and its number, or no list if the number is the given one.
func (r *Replicator) newPeers(have uint64) ([]Peer, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peers.changes == have {
		return nil, have
	}
	return append([]Peer(nil), r.peers.peers...), r.peers.changes
}

// userSpaceLost notes that user space has ended by itself, and has Run compare soon.
func (r *Replicator) userSpaceLost(err error) {
	r.mu.Lock()
	r.lost = err
	r.mu.Unlock()
	r.requestComparison()
}

// userSpaceSuffices reports whether user space replicates, and so has a new list by itself. Then it
// updates the state. keeping is held.
func (r *Replicator) userSpaceSuffices() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.user == nil || r.lost != nil {
		return false
	}
	r.notePeers()
	return true
}

// notePeers updates the state of user space by the list of peers. mu is held.
func (r *Replicator) notePeers() {
	if r.state.Mode != ModeUserSpace {
		return
	}
	marked := 0
	for _, p := range r.peers.peers {
		if p.Mark != 0 {
			marked++
		}
	}
	r.state.Peers = len(r.peers.peers) - marked
	if marked > 0 {
		r.state.Fault = fmt.Sprintf("%s: %d of %d peers", errMarked, marked, len(r.peers.peers))
	} else if r.lost == nil {
		r.state.Fault = ""
	}
}

// endUserSpace ends user space and keeps its counts. keeping is held.
func (r *Replicator) endUserSpace() error {
	if r.user == nil {
		return nil
	}
	u := r.user
	err := u.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.past.add(u.count())
	r.user = nil
	return err
}
