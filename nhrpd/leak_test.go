package nhrpd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"cygnet/kernel/rtnl"
)

// A daemon that ends with an error has ended everything that it started; otherwise the test's
// bubble would not end. The API's socket and the NHRP sockets are closed.
func TestAFailedDaemonLeavesNothingOpen(t *testing.T) {
	for name, fails := range map[string]func(t *testing.T, w *world, d *Daemon){
		"the list of blocked identities cannot be read": func(t *testing.T, _ *world, d *Daemon) {
			if err := os.WriteFile(d.blocks.file.Path(), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a tunnel may not be made": func(_ *testing.T, w *world, _ *Daemon) {
			go func() { w.tunnel("gre1").faults <- rtnl.ErrNoPermission }()
		},
		"a tunnel may not be kept": func(_ *testing.T, w *world, _ *Daemon) {
			go func() {
				w.tunnel("gre1").states <- tunnelThere
				synctest.Wait()
				w.tunnel("gre1").faults <- rtnl.ErrNoPermission
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				platform, listener := w.platform(), newPipeListener()
				platform.ListenAPI = func(string, string) (net.Listener, error) {
					return listener, nil
				}
				d := New(
					filepath.Join(dir, "cygnet.toml"),
					testConfig(t, []byte(spokeToml), dir),
					platform,
					io.Discard,
				)
				fails(t, w, d)
				if err := d.Run(t.Context()); err == nil || errors.Is(err, context.Canceled) {
					t.Fatalf("the daemon ended with %v, want the fault", err)
				}
				select {
				case <-listener.closed:
				default:
					t.Error("the API's socket is open")
				}
				for i, s := range w.sockets {
					select {
					case <-s.closed:
					default:
						t.Errorf("NHRP socket %d is open", i)
					}
				}
			})
		})
	}
}

// tunnel waits until the daemon has made a tunnel, and returns it.
func (w *world) tunnel(name string) *fakeTunnel {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tunnels[name]
}
