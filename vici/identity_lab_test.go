//go:build lab

package vici

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	govici "github.com/strongswan/govici/vici"
)

// charon itself shows and matches identities as identityCases says. Each case has its own
// connection on both ends, and the hub's identity tells the connections apart. The test initiates
// them without CHILD_SAs, one after the other, since charon drops requests that come in bursts.
func TestIdentitiesOfCharon(t *testing.T) {
	r := routers(t, 2)
	section := func(name, local, remote, from, to string) string {
		return fmt.Sprintf(
			"%s {\nversion = 2\nunique = never\nchildless = force\nproposals = aes128gcm16-prfsha256-x25519\nlocal_addrs = %s\nremote_addrs = %s\n"+
				"local {\nauth = psk\nid = \"%s\"\n}\nremote {\nauth = psk\nid = \"%s\"\n}\n}\n",
			name, from, to, local, remote)
	}
	var hub, spoke strings.Builder
	for i, c := range identityCases {
		name, own := fmt.Sprintf("case%d", i), fmt.Sprintf("hub%d", i)
		hub.WriteString(section(name, own, c.remote, r[0].addr.String(), "%any"))
		spoke.WriteString(section(name, c.local, own, r[1].addr.String(), r[0].addr.String()))
	}
	for i, id := range charonRefuses {
		spoke.WriteString(section(fmt.Sprintf("refused%d", i), id, "hub", r[1].addr.String(),
			r[0].addr.String()))
	}
	for i, conns := range []string{hub.String(), spoke.String()} {
		r[i].write("swanctl/swanctl.conf",
			"connections {\n"+conns+"}\nsecrets { ike-1 { secret = correct-horse-battery } }\n")
		cmd := exec.Command("swanctl", "--load-all", "--noprompt", "--uri", "unix://"+r[i].socket())
		cmd.Env = append(os.Environ(), "SWANCTL_DIR="+filepath.Join(r[i].dir, "swanctl"))
		out, err := cmd.CombinedOutput()
		for n, id := range charonRefuses {
			if refused := strings.Contains(string(out),
				fmt.Sprintf("'refused%d' failed: invalid value for: id", n)); refused != (i == 1) {
				t.Errorf("%q is refused: %v\n%s", id, refused, out)
			}
		}
		if i == 0 && err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	s, err := govici.NewSession(govici.WithAddr("unix", r[1].socket()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range identityCases {
		m := govici.NewMessage()
		for key, value := range map[string]string{
			"ike":     fmt.Sprintf("case%d", i),
			"timeout": "20000",
		} {
			if err := m.Set(key, value); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := s.Call(ctx, "initiate", m)
		cancel()
		if (err == nil) != identityCases[i].taken {
			t.Errorf("%q is taken by %q: %v, want %v", identityCases[i].local,
				identityCases[i].remote, err, identityCases[i].taken)
		}
	}
	shown := remoteIdentities(r[0].swanctl("--list-sas"))
	for i, c := range identityCases {
		printed, taken := shown[fmt.Sprintf("case%d", i)]
		if taken != c.taken || taken && printed != c.printed {
			t.Errorf("%q of %q: taken %v, shown as %q, want %v and %q", c.remote, c.local, taken,
				printed, c.taken, c.printed)
		}
	}
}

// remoteIdentities returns the remote identity of each IKE_SA in the output of swanctl, by the name
// of the connection.
func remoteIdentities(out string) map[string]string {
	list, name := map[string]string{}, ""
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "case") {
			name, _, _ = strings.Cut(line, ":")
		}
		if _, id, ok := strings.Cut(line, "  remote '"); ok {
			list[name] = id[:strings.LastIndex(id, "'")]
		}
	}
	return list
}
