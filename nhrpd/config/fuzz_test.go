package config

import (
	"os"
	"strings"
	"testing"
	"time"
)

// For any input, Parse returns. Its error consists of Problems with a line in the file, and what it
// accepts has the properties that the types promise.
func FuzzParse(f *testing.F) {
	reference, err := os.ReadFile(referenceFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(reference))
	f.Add(spoke)
	f.Add(hub)
	for _, fault := range faults {
		f.Add(spokeWith(fault.text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := Parse([]byte(text), "F")
		if err != nil {
			for _, p := range problemsOf(t, err) {
				if p.Line < 0 || p.Line > strings.Count(text, "\n")+1 ||
					strings.ContainsAny(p.Error(), "\n\x1b") {
					t.Errorf("problem %q", p)
				}
			}
		} else {
			for i := range cfg.Interfaces {
				checkPromises(t, &cfg.Interfaces[i])
			}
		}
	})
}

func checkPromises(t *testing.T, i *Interface) {
	t.Helper()
	if !i.Address.IsValid() || (i.Underlay.Device == "") == (len(i.Underlay.Addresses()) == 0) {
		t.Errorf("address %v, underlay %+v", i.Address, i.Underlay)
	}
	if i.TTL == 0 || i.MTU < 576 || i.Table == 0 || i.HoldingTime < 10*time.Second ||
		i.HoldingTime%time.Second != 0 || i.IdleTime < time.Second {
		t.Errorf("numbers of %+v", i)
	}
	if i.Protected != (i.IPsec != nil) ||
		i.IPsec != nil && (i.IPsec.Identity == "" || i.IPsec.Auth == "") {
		t.Errorf("protection of %+v", i)
	}
	for _, m := range i.Maps {
		if !m.Protocol.IsValid() || !m.NBMA.IsValid() {
			t.Errorf("map %+v", m)
		}
	}
	for _, n := range i.NHS {
		if n.NBMA == "" {
			t.Errorf("NHS %+v", n)
		}
	}
}
