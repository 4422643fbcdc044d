//go:build lab

package datapath

import (
	"errors"
	"strings"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/tc"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func attach(t *testing.T, device vnl.Link) Path {
	t.Helper()
	s, err := Attach(kerneltest.Log(t), Config{
		Device:   device.Attrs().Name,
		Index:    device.Attrs().Index,
		Redirect: true,
		Mode:     ModeEBPF,
		MSS:      MSS{IPv4: 1360, IPv6: 1340},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// foreign attaches another program's filter to the ingress of the device. The filter gives every
// packet the mark 77.
func foreign(t *testing.T, device vnl.Link, priority uint16, handle uint32) {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "foreign", Type: ebpf.SchedCLS, License: "MIT",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R2, 77),
			asm.StoreMem(asm.R1, 8, asm.R2, asm.Word), // __sk_buff.mark
			asm.Mov.Imm(asm.R0, -1),                   // TC_ACT_UNSPEC
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	err = vnl.FilterAdd(&vnl.BpfFilter{
		FilterAttrs: vnl.FilterAttrs{
			LinkIndex: device.Attrs().Index,
			Parent:    vnl.HANDLE_MIN_INGRESS,
			Handle:    handle,
			Priority:  priority,
			Protocol:  unix.ETH_P_ALL,
		},
		Fd: program.FD(), Name: "foreign", DirectAction: true,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A restart replaces the programs of the earlier run.
func TestRestartReplacesThePrograms(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	first := attach(t, gre)
	attach(t, gre) // while the first one is still there
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	last := attach(t, gre)
	check := func(when string, ingress, egress []string) {
		t.Helper()
		for end, want := range map[tc.Direction][]string{tc.Ingress: ingress, tc.Egress: egress} {
			got := kerneltest.FiltersAt(t, gre, uint32(end))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, filters at %s (-want +got):\n%s", when, end, diff)
			}
		}
	}
	check("attached three times", []string{"cygnet_ingress"}, []string{"cygnet_egress"})
	sendFrom(t, openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP), kerneltest.HubNBMA,
		kerneltest.Datagram("172.16.11.5", "172.16.12.5", 60))
	kerneltest.Eventually(t, "the last one sees the traffic", func() bool {
		return len(usedBy(t, last)) == 2
	})
	if err := last.Close(); err != nil {
		t.Fatal(err)
	}
	check("closed", []string{"cygnet_ingress"}, []string{"cygnet_egress"})
	for range 2 {
		if err := Detach("gre1"); err != nil {
			t.Fatal(err)
		}
		check("detached", []string{}, []string{})
	}
	if err := Detach("gre99"); err != nil {
		t.Errorf("detach from a device that is gone: %v", err)
	}
}

// Other programs' filters on the device stay and keep running.
func TestForeignFiltersStayAndRun(t *testing.T) {
	for name, priority := range map[string]uint16{"before ours": 5, "behind ours": 60000} {
		t.Run(name, func(t *testing.T) {
			if !kerneltest.OwnNamespace(t) {
				return
			}
			gre := kerneltest.HubAndSpokes(t)
			kerneltest.RunWith(t, "", "tc qdisc add dev gre1 clsact")
			foreign(t, gre, priority, 1)
			s := attach(t, gre)
			attach(t, gre)
			if got := kerneltest.FiltersAt(t, gre, vnl.HANDLE_MIN_INGRESS); len(got) != 2 ||
				!strings.Contains(strings.Join(got, " "), "foreign") {
				t.Errorf("filters %v", got)
			}
			hub := openSocket(t, "", "gre1", kerneltest.ProtocolNHRP)
			sendFrom(t, openSocket(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP),
				kerneltest.HubNBMA, kerneltest.Numbered(1)...)
			ms := make([]nhrpsocket.Message, 1)
			if _, err := hub.ReadBatch(ms); err != nil || ms[0].Mark != 77 {
				t.Errorf("a packet came with mark %d, %v; the foreign program sets 77",
					ms[0].Mark, err)
			}
			if err := errors.Join(s.Close(), Detach("gre1")); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(
				[]string{"foreign"}, kerneltest.FiltersAt(t, gre, vnl.HANDLE_MIN_INGRESS),
			); diff != "" {
				t.Errorf("after Detach (-want +got):\n%s", diff)
			}
		})
	}
}

// If the programs cannot be attached, the error says what is in the way.
func TestAttachSaysWhatIsInTheWay(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*testing.T, vnl.Link) Config
		words   []string
	}{
		"an ingress qdisc": {func(t *testing.T, gre vnl.Link) Config {
			kerneltest.RunWith(t, "", "tc qdisc add dev gre1 ingress")
			return Config{Device: "gre1", Index: gre.Attrs().Index}
		}, []string{"gre1", "ingress qdisc", "tc qdisc del"}},
		"a filter in our place": {func(t *testing.T, gre vnl.Link) Config {
			kerneltest.RunWith(t, "", "tc qdisc add dev gre1 clsact")
			foreign(t, gre, filterPriority, tc.Handle)
			return Config{Device: "gre1", Index: gre.Attrs().Index}
		}, []string{"gre1", "priority 8193", "ingress"}},
		"another device": {func(t *testing.T, gre vnl.Link) Config {
			return Config{Device: "lan0", Index: gre.Attrs().Index + 1}
		}, []string{"lan0", "dummy", "gre"}},
		"a new device of the same name": {func(t *testing.T, gre vnl.Link) Config {
			return Config{Device: "gre1", Index: gre.Attrs().Index + 1000}
		}, []string{"gre1", "replaced"}},
		"no device": {func(t *testing.T, gre vnl.Link) Config {
			return Config{Device: "gre99", Index: 99}
		}, []string{"gre99", "not found"}},
	} {
		t.Run(name, func(t *testing.T) {
			if !kerneltest.OwnNamespace(t) {
				return
			}
			cfg := test.prepare(t, kerneltest.HubAndSpokes(t))
			cfg.Mode = ModeEBPF
			_, err := Attach(kerneltest.Log(t), cfg)
			if err == nil {
				t.Fatal("no error")
			}
			for _, word := range test.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q does not have %q", err, word)
				}
			}
		})
	}
}

// Without the privileges, the error names those that are needed.
func TestAttachNeedsPrivileges(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	cfg := Config{Device: "gre1", Index: gre.Attrs().Index, Mode: ModeEBPF}
	kerneltest.WithCapabilities(t, nil, func() {
		if _, err := Attach(kerneltest.Log(t), cfg); !errors.Is(err, unix.EPERM) ||
			!strings.Contains(err.Error(), "CAP_BPF and CAP_NET_ADMIN") {
			t.Errorf("without privileges: %v", err)
		}
		if err := Detach("gre1"); err != nil {
			t.Errorf("detach where nothing is: %v", err)
		}
	})
	const capBPF = 39
	kerneltest.WithCapabilities(t, []int{capBPF, unix.CAP_NET_ADMIN}, func() {
		s, err := Attach(kerneltest.Log(t), cfg)
		if err != nil {
			var refused *ebpf.VerifierError
			errors.As(err, &refused)
			t.Errorf("with CAP_BPF and CAP_NET_ADMIN: %v\n%+v", err, refused)
			return
		}
		defer s.Close()
		if err := s.EnableMarks(); err != nil {
			t.Errorf("marks with CAP_BPF and CAP_NET_ADMIN: %v", err)
		}
	})
	attach(t, gre)
	kerneltest.WithCapabilities(t, nil, func() {
		if err := Detach("gre1"); !errors.Is(err, rtnl.ErrNoPermission) {
			t.Errorf("detach without privileges: %v", err)
		}
	})
}
