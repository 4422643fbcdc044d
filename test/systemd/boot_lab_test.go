//go:build lab

package systemd

import (
	"net/netip"
	"testing"
	"time"

	"cygnet/test/lab"
)

// tunnelUnit is a program that brings up the tunnel at boot, and another tunnel that nobody guards,
// and sends into both, all before the daemon starts. It stands for any network service: what
// matters is when it runs.
const tunnelUnit = `[Unit]
DefaultDependencies=no
After=network-pre.target
Before=network.target cygnetd.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -e /etc/tunnel
[Install]
WantedBy=multi-user.target
`

// tunnelScript is what that program does. The address of the unguarded tunnel is none of Cygnet's.
const tunnelScript = `ip link set eth0 up
ip addr add 192.0.2.11/24 dev eth0
ip addr add 192.0.2.99/24 dev eth0
up() {
	ip link add $1 type gre local $2 key $3 ttl 64
	ip addr add $4/24 dev $1
	ip link set $1 arp on up
	ip neigh add $5 lladdr 192.0.2.1 dev $1 nud permanent
	ping -n -q -c 20 -i 0.05 -W 1 $5 || :
}
up gre1 192.0.2.11 42 10.255.0.11 10.255.0.1
up other 192.0.2.99 43 10.254.0.11 10.254.0.1
`

// A machine boots with the daemon enabled, and a tunnel that another program brings up comes first.
// From the first packet on, nothing of that tunnel is on the underlay in clear: the guard is there
// before anything sets up the network. The daemon adopts the tunnel. At the next boot the network
// comes after the daemon, which is ready all the same, and secures its peers when the network is
// there.
func TestBoot(t *testing.T) {
	boots(t, func(m *machine) {
		m.addPackage("cygnet", "9.0.0")
	}, phase{"install", prepareBoot}, phase{"guard", guardFirst}, phase{"late", networkLate})
}

// prepareBoot installs and enables everything for the next boot. The machine has no network then.
// The configuration names the underlay's address, so that the guard knows it at the first boot.
func prepareBoot(_ *testing.T, r *router) {
	r.boot()
	r.install("/root/cygnet.deb")
	r.Interface[1] = `underlay = "192.0.2.11"`
	r.configure()
	r.Run("rm", "/etc/systemd/network/eth0.network")
	r.WriteFile("/etc/tunnel", 0o755, tunnelScript)
	r.WriteFile("/etc/systemd/system/tunnel.service", 0o644, tunnelUnit)
	r.Run("systemctl", "enable", "--quiet", "tunnel.service", "cygnetd.service")
}

// guardFirst boots with the tunnel of another program.
func guardFirst(_ *testing.T, r *router) {
	r.Hub.Start()
	r.boot()
	r.joined()
	sent := func(address string) int {
		return r.Underlay.Count(lab.OfKind(lab.GRE), lab.From(netip.MustParseAddr(address)))
	}
	if n := sent("192.0.2.99"); n == 0 {
		r.Mesh.Errorf("the tunnel that nobody guards sent nothing in clear: nothing was tested")
	}
	if n := sent("192.0.2.11"); n != 0 {
		r.Mesh.Errorf("%d packets of the guarded tunnel were on the underlay in clear", n)
	}
	if n := r.XfrmStat("XfrmOutPolBlock"); n < 10 {
		r.Mesh.Errorf("the kernel stopped %d packets of the guarded tunnel, want all before the daemon", n)
	}
	// For the next boot.
	r.Run("systemctl", "disable", "--quiet", "tunnel.service")
}

// networkLate boots without a network, which comes when everything else has started.
func networkLate(_ *testing.T, r *router) {
	r.Hub.Start()
	r.Ready()
	r.Await("the daemon is ready without a network", later, func() error {
		state := r.show("cygnetd.service", "ActiveState")
		return lab.True(state == "active", "it is %s", state)
	})
	if out := r.Run("ip", "-4", "addr", "show", "dev", "eth0"); out != "" {
		r.Mesh.Errorf("the network is there already:\n%s", out)
	}
	begun := time.Now()
	r.IP("link set eth0 up", "addr add 192.0.2.11/24 dev eth0")
	r.joined()
	r.Mesh.Logf("registered %s after the network came", time.Since(begun).Round(time.Second))
	r.encrypted()
}
