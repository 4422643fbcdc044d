//go:build lab

package vici

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cygnet/vici/profile"
)

// patience is how long an awaited event may take before a test gives up.
const patience = 60 * time.Second

// router is a network namespace on the lab's bridge with a stock charon and a Client for it.
type router struct {
	t      *testing.T
	name   string
	addr   netip.Addr
	dir    string // the router's /run, with all its files
	before string // shell commands that run before charon starts
	charon *exec.Cmd
	exited chan struct{}
}

// routers makes n routers with the addresses 192.0.2.1, 192.0.2.2 and so on. Each runs a charon.
func routers(t *testing.T, n int) []*router {
	t.Helper()
	shell(t, "ip link add underlay type bridge && ip link set underlay up")
	t.Cleanup(func() { shell(t, "ip link del underlay") })
	var all []*router
	for i := range n {
		all = append(all, newRouter(t,
			fmt.Sprintf("r%d", i+1),
			fmt.Sprintf("192.0.2.%d", i+1),
			"underlay"))
	}
	return all
}

// newRouter makes a router on a bridge. The router runs a charon.
func newRouter(t *testing.T, name, addr, bridge string) *router {
	t.Helper()
	r := &router{
		t:    t,
		name: name,
		addr: netip.MustParseAddr(addr),
		dir:  filepath.Join("/run", "vici-"+name),
	}
	shell(t, fmt.Sprintf(`mkdir -p %[3]s/swanctl
		ip netns add %[1]s
		ip link add u-%[1]s type veth peer name eth0 netns %[1]s
		ip link set u-%[1]s master %[4]s up
		ip -n %[1]s addr add %[2]v/24 dev eth0
		ip -n %[1]s link set eth0 up
		ip -n %[1]s link set lo up`, name, addr, r.dir, bridge))
	t.Cleanup(func() { shell(t, fmt.Sprintf("ip netns del %s; rm -rf %s", r.name, r.dir)) })
	t.Cleanup(r.kill)
	r.start()
	return r
}

// start starts charon and waits until charon's socket accepts connections.
func (r *router) start() {
	r.t.Helper()
	conf := filepath.Join(r.dir, "strongswan.conf")
	r.write("strongswan.conf", fmt.Sprintf(`charon {
		load = openssl nonce pem pkcs1 pkcs8 x509 pubkey constraints kdf hmac kernel-netlink socket-default updown vici
		install_routes = no
		retransmit_tries = 2
		retransmit_timeout = 1.0
		plugins {
			vici {
				socket = unix:///run/charon.vici
			}
		}
		filelog {
			log {
				path = %s/charon.log
				append = yes
				default = 1
				flush_line = yes
				time_format = %%T
				time_add_ms = yes
			}
		}
	}
	swanctl {
		socket = unix:///run/charon.vici
	}
	`, "/run"))
	_ = os.Remove(r.socket())
	r.charon = exec.Command("ip", "netns", "exec", r.name, "sh", "-c",
		fmt.Sprintf(
			"mount --bind %s /run && %sexec env STRONGSWAN_CONF=/run/%s /usr/lib/ipsec/charon",
			r.dir, r.before, filepath.Base(conf)))
	if err := r.charon.Start(); err != nil {
		r.t.Fatalf("start charon: %v", err)
	}
	r.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(r.charon, r.exited)
	r.t.Cleanup(func() {
		if r.t.Failed() {
			log, _ := os.ReadFile(filepath.Join(r.dir, "charon.log"))
			r.t.Logf("charon of %s:\n%s", r.name, log)
		}
	})
	eventually(r.t, "charon's socket", func() bool {
		c, err := net.Dial("unix", r.socket())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// socket returns the path of charon's VICI socket.
func (r *router) socket() string { return filepath.Join(r.dir, "charon.vici") }

// kill ends charon as a crash would: charon tells its peers nothing.
func (r *router) kill() { r.end(func() { _ = r.charon.Process.Kill() }) }

// stop ends charon in an orderly way.
func (r *router) stop() { r.end(func() { _ = r.charon.Process.Signal(os.Interrupt) }) }

// end ends charon by a function, and waits until charon has ended.
func (r *router) end(by func()) {
	if r.charon == nil {
		return
	}
	by()
	<-r.exited
	r.charon = nil
}

// write writes a file in the router's directory.
func (r *router) write(name, content string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// swanctl runs the administrator's command against this router's charon.
func (r *router) swanctl(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("swanctl", append(args, "--uri", "unix://"+r.socket())...)
	cmd.Env = append(os.Environ(), "SWANCTL_DIR="+filepath.Join(r.dir, "swanctl"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("swanctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// applied returns a profile of gre1 with a PSK for this router.
func (r *router) applied() profile.Profile {
	return profile.Profile{
		Interface:  "gre1",
		LocalAddrs: []netip.Addr{r.addr},
		Identity:   r.name + ".example.net",
		PSK:        profile.Secret("correct horse battery staple"),
	}
}

// key returns the key under which other routers' clients know this router.
func (r *router) key() Key { return Key{Interface: "gre1", NBMA: r.addr} }

// watch is a running client with the events that it has reported so far.
type watch struct {
	*Client
	t      *testing.T
	name   string
	stop   func()
	events []Event
}

// client runs a client for this router until stop or the end of the test.
func (r *router) client(adjust ...func(*times)) *watch {
	r.t.Helper()
	c := New(Options{Socket: r.socket(), Log: slog.New(slog.DiscardHandler)})
	for _, f := range adjust {
		f(&c.times)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	w := &watch{Client: c, t: r.t, name: r.name}
	w.stop = func() {
		if ctx.Err() != nil {
			return
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			r.t.Errorf("Run of %s: %v", r.name, err)
		}
	}
	r.t.Cleanup(w.stop)
	return w
}

// await reads events until one is as wanted, and returns that event.
func await[E Event](w *watch, what string, wanted func(E) bool) E {
	w.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case e := <-w.Events():
			w.events = append(w.events, e)
			if e, ok := e.(E); ok && wanted(e) {
				return e
			}
		case <-limit:
			var events strings.Builder
			for _, e := range w.events {
				fmt.Fprintf(&events, "\t%T%+v\n", e, e)
			}
			w.t.Fatalf("%s: no %s within %v; events so far:\n%sSAs: %+v",
				w.name, what, patience, events.String(), w.SAs())
		}
	}
}

// up waits until the client reports a peer as secured.
func (w *watch) up(k Key) Peer {
	w.t.Helper()
	return await(w, "Up of "+k.String(), func(e Up) bool { return e.Key() == k }).Peer
}

// down waits until the client reports a peer as lost, and returns the reason.
func (w *watch) down(k Key) string {
	w.t.Helper()
	return await(w, "Down of "+k.String(), func(e Down) bool { return e.Key == k }).Reason
}

// failed waits until the client reports a failure with a word in its reason, and returns the
// reason.
func (w *watch) failed(k Key, word string) string {
	w.t.Helper()
	return await(w, "Failed of "+k.String()+" with "+word,
		func(e Failed) bool { return e.Key == k && strings.Contains(e.Reason, word) }).Reason
}

// snapshot waits for a Snapshot with this number of peers.
func (w *watch) snapshot(peers int) Snapshot {
	w.t.Helper()
	return await(w, fmt.Sprintf("Snapshot of %d peers", peers), func(e Snapshot) bool {
		return len(e.Peers) == peers
	})
}

// eventually waits for something that no event reports, such as a change in another program's
// table.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	limit := time.Now().Add(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(limit) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-tick.C
	}
}

// shell runs a shell script, which must succeed, and returns its output.
func shell(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// loaded reports whether charon has a connection of this name.
func (r *router) loaded(name string) bool {
	r.t.Helper()
	for line := range strings.Lines(r.swanctl("--list-conns")) {
		if strings.HasPrefix(line, name+":") {
			return true
		}
	}
	return false
}
