package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
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

// The programs' times are converted to times of Go's clock.
func TestClockOfThePrograms(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := clock{now: now, monotonic: int64(time.Hour)}
	for ns, want := range map[uint64]time.Time{
		0:                               {},
		uint64(time.Hour):               now,
		uint64(time.Hour - time.Minute): now.Add(-time.Minute),
		uint64(time.Hour + time.Second): now.Add(time.Second), // written while the table was read
		1:                               now.Add(-time.Hour + 1),
	} {
		if got := c.at(ns); !got.Equal(want) {
			t.Errorf("%d ns: %v, want %v", ns, got, want)
		}
	}
}

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

// explainEBPF adds to the kernel's errors what the user can do.
func TestErrorsOfEBPFSayWhatToDo(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		word string
	}{
		"privileges":  {unix.EPERM, "CAP_BPF and CAP_NET_ADMIN"},
		"lockdown":    {unix.EACCES, "lockdown"},
		"old kernel":  {unix.EINVAL, "Linux 5.8"},
		"no BPF":      {unix.ENOSYS, "CONFIG_BPF_SYSCALL"},
		"the program": {fmt.Errorf("%w", &ebpf.VerifierError{Cause: unix.EACCES}), "verifier"},
		"other":       {unix.EIO, "gre1"},
	} {
		t.Run(name, func(t *testing.T) {
			err := explainEBPF(fmt.Errorf("load: %w", test.err), "gre1")
			if !strings.Contains(err.Error(), test.word) || !errors.Is(err, test.err) {
				t.Errorf("%v does not say %q", err, test.word)
			}
		})
	}
}

// An empty configuration has the documented rates.
func TestRateHasDefaults(t *testing.T) {
	var cfg DataPathConfig
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
