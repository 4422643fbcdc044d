//go:build lab

package scenario

import (
	"testing"
	"time"

	"cygnet/test/lab"
)

// Each of two spokes is behind a NAT of the kind that most homes have, which keeps source ports and
// lets in only answers. Both spokes dial at once, and each punches the hole for the other. The
// traffic, which went through the hub, then goes straight, without a loss.
func TestHolePunching(t *testing.T) {
	m := behindTwoNATs(t, false)
	begin := time.Now()
	flow := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, 50*time.Millisecond)
	directBothWays(m, later)
	t.Logf("both ways are direct %v after the first packet",
		time.Since(begin).Round(time.Millisecond))
	lossless(m, begin, []*lab.Flow{flow})
	flow.Stop()
	straight(m, m.Spoke1, m.Spoke2)
	straight(m, m.Spoke2, m.Spoke1)
	alive(m)
	encrypted(m)
}

// Symmetric NATs take another port for each peer, so that no hole leads in. The traffic stays on
// the hub, without a loss, and nothing that was up goes down.
func TestSymmetricNATs(t *testing.T) {
	m := behindTwoNATs(t, true)
	begin := time.Now()
	flow := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, 50*time.Millisecond)
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		m.Await(s.Name+" gives up to look for a direct way", later, func() error {
			return logged(s, "no shorter way found")
		})
	}
	lossless(m, begin, []*lab.Flow{flow})
	if err := logged(m.Spoke1, "shortcut up"); err == nil {
		t.Error("there was a direct way")
	}
	steady(m)
	alive(m)
	encrypted(m)
}

// behindTwoNATs returns a mesh that is up, in which each of two spokes is behind a NAT of its own.
func behindTwoNATs(t *testing.T, symmetric bool) *lab.Mesh {
	m := lab.NewMesh(t, lab.SpokeBehindNAT("spoke1"), lab.SpokeBehindNAT("spoke2"))
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		s.NAT.Close()
		s.NAT.Masquerade(symmetric)
	}
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	return m
}
