//go:build lab

package scenario

import (
	"testing"

	"cygnet/test/lab"
)

// A spoke with a wrong key gets no SA, says so and goes on trying. Once it has the right key, it
// registers.
func TestWrongKey(t *testing.T) {
	m := lab.NewMesh(t)
	m.Spoke1.PSK = "not the key of this mesh"
	m.Start()
	registered(m, m.Spoke2, soon)
	m.Await("spoke1 says that it gets no SA", soon, func() error {
		n, err := nhs(m.Spoke1)
		if err != nil {
			return err
		}
		return lab.True(n.State == "securing" && logged(m.Spoke1, "could not be secured") == nil,
			"%+v", n)
	})
	if at, ok := m.Hub.Neighbors("gre1")[m.Spoke1.Overlay]; ok {
		t.Errorf("the hub has spoke1 at %s", at)
	}
	alive(m)
	m.Spoke1.Daemon.Terminate()
	m.Spoke1.PSK = m.Hub.PSK
	m.Spoke1.StartDaemon()
	registered(m, m.Spoke1, later)
	encrypted(m)
}

// Without charon the daemon runs and waits, with the guard set. Once charon is there, the spoke
// registers.
func TestMissingCharon(t *testing.T) {
	m := lab.NewMesh(t)
	m.Hub.Start()
	m.Spoke1.StartDaemon()
	m.Await("spoke1 says that there is no charon", soon, func() error {
		st, err := status(m.Spoke1)
		if err != nil {
			return err
		}
		return lab.True(!st.StrongSwan.Connected && st.StrongSwan.Error != "", "%+v", st.StrongSwan)
	})
	if len(m.Spoke1.Guards()) == 0 {
		t.Error("spoke1 has a tunnel without the guard")
	}
	m.Spoke1.Charon = m.Spoke1.Router.Charon()
	registered(m, m.Spoke1, later)
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 3)
	encrypted(m)
}

// A device of another kind has the tunnel's name. The daemon leaves it alone, and makes the tunnel
// once that device is gone.
func TestNameTaken(t *testing.T) {
	m := lab.NewMesh(t)
	m.Hub.Start()
	m.Spoke1.IP("link add gre1 type dummy", "addr add 203.0.113.1/32 dev gre1")
	m.Spoke1.WriteFile("/etc/cygnet/gre1.psk", 0o600, m.Spoke1.PSK)
	m.Spoke1.Charon = m.Spoke1.Router.Charon()
	m.Spoke1.Daemon = m.Spoke1.LaunchCygnetd(m.Spoke1.Config())
	m.Await("spoke1 says that the name is taken", soon, func() error {
		st, err := status(m.Spoke1)
		if err != nil {
			return err
		}
		return lab.True(len(st.Interfaces) == 1 && st.Interfaces[0].Error != "", "%+v",
			st.Interfaces)
	})
	if out := m.Spoke1.Run("ip", "-o", "addr", "show", "dev", "gre1"); !contains(out,
		"203.0.113.1/32") || contains(out, m.Spoke1.Overlay.String()) {
		t.Errorf("the daemon changed the addresses of the device: %s", out)
	}
	if out := m.Spoke1.Run("ip", "-d", "link", "show", "dev", "gre1"); !contains(out, "dummy") {
		t.Errorf("the device is not the one that was there: %s", out)
	}
	m.Spoke1.IP("link del gre1")
	registered(m, m.Spoke1, later)
	encrypted(m)
}

// A wrong configuration ends the daemon at once, before it touches anything. The daemon and cygnet
// check name the file and the key.
func TestWrongConfiguration(t *testing.T) {
	m := lab.NewMesh(t)
	s := m.Spoke1
	for _, c := range []struct{ name, line, says string }{
		{"unknown key", `shortcuts = true`, "shortcut"},
		{"impossible value", `ttl = 300`, "ttl"},
		{"wrong type", `mtu = "big"`, "mtu"},
	} {
		good := s.Interface
		s.Interface = append(append([]string(nil), good...), c.line)
		d := s.LaunchCygnetd(s.Config())
		if code := d.Wait(soon); code == 0 {
			t.Errorf("%s: the daemon ended as if all were well", c.name)
		}
		out, err := s.TryCygnet("check", lab.CygnetConfig)
		if err == nil {
			t.Errorf("%s: cygnet check has nothing to say", c.name)
		}
		for what, text := range map[string]string{"cygnetd": d.Output(), "cygnet check": out} {
			if !contains(text, lab.CygnetConfig, c.says) {
				t.Errorf("%s: %s does not name file and key: %s", c.name, what, text)
			}
		}
		s.Interface = good
	}
	if s.HasDevice("gre1") || len(s.Guards()) > 0 {
		t.Error("the daemon left something behind")
	}
	if out, err := s.TryCygnet("status"); err == nil || !contains(out, lab.CygnetSocket) {
		t.Errorf("cygnet status without a daemon: %v: %s", err, out)
	}
}

// Two spokes of different identity want one overlay address. The address belongs to the first spoke
// until that spoke leaves. Before that the hub refuses the second spoke (NAK 14).
func TestAddressBelongsToTheFirst(t *testing.T) {
	m := lab.NewMesh(t)
	m.Spoke1.Interface = append(m.Spoke1.Interface, "unique = true")
	m.Spoke2.Interface[0] = `address = "10.255.0.11/24"`
	m.Spoke2.Overlay = m.Spoke1.Overlay
	m.Hub.Start()
	m.Spoke1.Start()
	registered(m, m.Spoke1, soon)
	m.Spoke2.Start()
	m.Await("the hub refuses spoke2", soon, func() error {
		n, err := nhs(m.Spoke2)
		if err != nil {
			return err
		}
		return lab.True(n.State == "refused", "%+v", n)
	})
	if at := m.Hub.Neighbors("gre1")[m.Spoke1.Overlay]; at != m.Spoke1.Public {
		t.Errorf("the hub has %s at %s", m.Spoke1.Overlay, at)
	}
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 3)
	m.Spoke1.Cygnet("leave")
	registered(m, m.Spoke2, later)
	encrypted(m)
}

// A spoke with another NHRP password has an SA but no binding. Both routers say why, and no log has
// a password in it.
func TestAuthenticationMismatch(t *testing.T) {
	m := lab.NewMesh(t)
	m.Hub.Interface = append(m.Hub.Interface, `authentication = "swan-1"`)
	m.Spoke1.Interface = append(m.Spoke1.Interface, `authentication = "swan-1"`)
	m.Spoke2.Interface = append(m.Spoke2.Interface, `authentication = "duck-2"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	// A hub that stands still leaves two requests unanswered before it says what is wrong.
	m.Await("spoke2 has an SA, is not registered, and knows why", soon, func() error {
		if err := secured(m.Spoke2, m.Hub); err != nil {
			return err
		}
		n, err := nhs(m.Spoke2)
		if err != nil {
			return err
		}
		return lab.True(n.State != "registered" && n.Attempts >= 2 &&
			contains(n.Error, "authentication"), "%+v", n)
	})
	if out, _ := m.Spoke2.TryCygnet("status"); !contains(out, "authentication") {
		t.Errorf("spoke2 does not say why it is not registered:\n%s", out)
	}
	m.Await("the hub says whose password is wrong", soon, func() error {
		return logged(m.Hub, "spoke2.example.net", "its NHRP password is not ours")
	})
	if at, ok := m.Hub.Neighbors("gre1")[m.Spoke2.Overlay]; ok {
		t.Errorf("the hub has spoke2 at %s", at)
	}
	for _, s := range m.Sites() {
		if contains(s.Daemon.Output(), "swan-1") || contains(s.Daemon.Output(), "duck-2") {
			t.Errorf("the log of %s has a password in it", s.Name)
		}
	}
	alive(m)
	encrypted(m)
}
