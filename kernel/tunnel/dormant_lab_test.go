//go:build lab

package tunnel

import (
	"context"
	"testing"

	"cygnet/kernel/kerneltest"
)

// SetDormant decides the operational state of a tunnel, also after somebody set the link down or
// changed the state. The end of Run leaves the state, and Remove resets that of an adopted tunnel.
func TestTunnelIsDormant(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.IP(t, "link add gre1 type gre local 198.51.100.1 key 42 ttl 64")
	tunnel := New(labTunnel, kerneltest.Log(t))
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tunnel.Run(ctx, func(State) {}) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	}
	stop := run()
	kerneltest.Shows(t, "link show gre1", "UP", "-DORMANT")
	tunnel.SetDormant(true)
	kerneltest.Shows(t, "link show gre1", "UP", "state DORMANT")
	kerneltest.IP(t, "link set gre1 state up")
	kerneltest.Shows(t, "link show gre1", "state DORMANT")
	kerneltest.IP(t, "link set gre1 down")
	kerneltest.Shows(t, "link show gre1", "UP", "state DORMANT")
	stop()
	kerneltest.Shows(t, "link show gre1", "state DORMANT")

	stop = run()
	tunnel.SetDormant(false)
	kerneltest.Shows(t, "link show gre1", "UP", "-DORMANT")
	tunnel.SetDormant(true)
	kerneltest.Shows(t, "link show gre1", "state DORMANT")
	stop()
	if err := tunnel.Remove(); err != nil {
		t.Error(err)
	}
	kerneltest.Shows(t, "link show gre1", "gre1", "-DORMANT")
}
