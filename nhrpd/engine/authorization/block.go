package authorization

import (
	"time"

	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/policy"
)

// Block is an identity that the administrator shut out.
type Block struct {
	Identity string // as given
	Since    time.Time
	Ends     time.Time    // zero: when it is taken back
	Expiry   timers.Timer // set while Ends is; the engine sets and stops it
}

// Until returns when the block ends, as a part of a sentence. It is empty if nobody knows.
func (b *Block) Until() string {
	if b.Ends.IsZero() {
		return ""
	}
	return " until " + b.Ends.UTC().Format(time.RFC3339)
}

// Blocks are the blocks by canonical identity. They hold on all interfaces.
type Blocks map[string]*Block

// Of returns the block of an identity, or nil.
func (b Blocks) Of(identity string) *Block {
	if len(b) == 0 {
		return nil
	}
	return b[policy.Canonical(identity)]
}
