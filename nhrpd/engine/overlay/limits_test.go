package overlay

import (
	"testing"
	"time"

	"cygnet/nhrpd/engine/peerid"
)

// allowed returns how many refusals of a peer may be logged at once.
func (ifc *Interface) allowed(nbma string) (count int) {
	for range 100 {
		if ifc.Limiters.Refusals.Allow(ifc.Now, peerid.At(addr(nbma))) {
			count++
		}
	}
	return count
}

// A new configuration with the same limits gives nobody full buckets again. One with other limits
// does.
func TestConfigureKeepsBuckets(t *testing.T) {
	ifc := hub()
	if got := ifc.allowed("192.0.2.11"); got != 3 {
		t.Fatalf("want a burst of 3, have %d", got)
	}
	cfg := ifc.Config
	cfg.MTU = 1300
	ifc.Configure(cfg)
	if got := ifc.allowed("192.0.2.11"); got != 0 {
		t.Errorf("with the same limits, the bucket has %d again", got)
	}
	cfg.Limits.Errors++
	ifc.Configure(cfg)
	if got := ifc.allowed("192.0.2.11"); got != 3 {
		t.Errorf("with other limits, want a burst of 3, have %d", got)
	}
}

// Replies and requests that pass through this router have buckets of their own.
func TestTransitKeysAreSeparate(t *testing.T) {
	ifc := hub()
	from := TransitKey{From: peerid.At(addr("192.0.2.11"))}
	for range 100 {
		ifc.Limiters.Transit.Allow(ifc.Now, from)
	}
	if ifc.Limiters.Transit.Allow(ifc.Now, from) {
		t.Fatal("100 requests at once do not empty the bucket")
	}
	if !ifc.Limiters.Transit.Allow(ifc.Now, TransitKey{From: from.From, Reply: true}) {
		t.Error("requests keep a reply from passing")
	}
}

// The traffic indications about one flow have a pause between them.
func TestFlowsAreRemembered(t *testing.T) {
	ifc := hub()
	flow := Flow{To: peerid.At(addr("192.0.2.11")), Source: addr("172.16.1.10"), Dest: addr("172.16.2.10")}
	ifc.Limiters.Flows.Add(ifc.Now, flow)
	if !ifc.Limiters.Flows.Has(ifc.Now.Add(time.Second-1), flow) {
		t.Error("the flow is forgotten before its pause is over")
	}
	if ifc.Limiters.Flows.Has(ifc.Now.Add(time.Second), flow) {
		t.Error("the flow is remembered after its pause")
	}
}
