package datapath

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// event returns struct event of bpf/maps.h as the programs write it.
func event(from netip.Addr, length int, data string) []byte {
	outer := from.As16()
	b := binary.NativeEndian.AppendUint32(outer[:], uint32(length))
	return append(b, data...)
}

// parseEvent reads a whole event. It refuses an event that is cut short or shorter than it says.
func TestParseEvent(t *testing.T) {
	for name, test := range map[string]struct {
		event  []byte
		from   string
		packet string
		ok     bool
	}{
		"a packet":         {event(spoke(11), 3, "abcdef"), "192.0.2.11", "abc", true},
		"a packet as long": {event(spoke(11), 3, "abc"), "192.0.2.11", "abc", true},
		"of an IPv6 underlay": {
			event(netip.MustParseAddr("2001:db8::1"), 1, "a"), "2001:db8::1", "a", true,
		},
		"a length beyond it":    {event(spoke(11), 4, "abc"), "", "", false},
		"a length out of range": {event(spoke(11), -1, "abc"), "", "", false},
		"cut short":             {event(spoke(11), 0, "")[:19], "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r, ok := parseEvent(test.event)
			if ok != test.ok ||
				ok && (r.From.String() != test.from || string(r.Packet) != test.packet) {
				t.Errorf("got %v %q, %v", r.From, r.Packet, ok)
			}
		})
	}
}

func spoke(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }

// The programs must have a licence that is compatible with the GPL, because the kernel refuses
// bpf_fib_lookup and bpf_ktime_get_ns to others. The objects of both byte orders must be complete.
func TestObjectsAreWhole(t *testing.T) {
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{bpfProgCygnetIngress, bpfProgCygnetEgress} {
		program := spec.Programs[name]
		if program == nil || program.License != "Dual BSD/GPL" || program.Type != ebpf.SchedCLS {
			t.Errorf("program %s: %+v", name, program)
		}
	}
	for _, name := range []string{
		bpfVarSample, bpfVarTellsDevice, bpfVarFirstInterval, bpfVarLastInterval, bpfVarPerSecond,
		bpfVarPerSource, bpfVarNhrpByte, bpfVarNhrpBurst,
	} {
		if v := spec.Variables[name]; v == nil || !v.Constant() {
			t.Errorf("setting %s is no constant: the verifier would not drop what is switched off",
				name)
		}
	}
	for name, bound := range map[string]uint32{
		bpfMapPeers:  65536,
		bpfMapFlows:  16384,
		bpfMapShares: 65536,
	} {
		if m := spec.Maps[name]; m == nil || m.Type != ebpf.LRUHash || m.MaxEntries != bound {
			t.Errorf("table %s: %v", name, m)
		}
	}
}

// An empty configuration has the documented rates.
func TestRateHasDefaults(t *testing.T) {
	var cfg Config
	cfg.setDefaults()
	if want := (SampleRate{
		First:     time.Second,
		Last:      8 * time.Second,
		PerSecond: 1000,
		PerSource: 100,
	}); cfg.Rate != want {
		t.Errorf("defaults %+v", cfg)
	}
}
