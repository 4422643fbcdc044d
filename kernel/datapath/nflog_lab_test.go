//go:build lab

package datapath

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"cygnet/kernel/kerneltest"

	"github.com/google/go-cmp/cmp"
	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addNFLOGRules adds the firewall rules that the user has to add, as the log shows them.
func addNFLOGRules(t *testing.T, cfg Config) {
	t.Helper()
	cfg.setDefaults()
	rule := strings.Fields(nflogRule(cfg))
	if rule[0] != "iptables" {
		t.Fatalf("the rule is no iptables command: %q", rule)
	}
	for _, program := range []string{"iptables", "ip6tables"} {
		kerneltest.RunWith(t, "", program+" "+strings.Join(rule[1:], " "))
	}
}

// With NFLOG, the programs of an earlier run are removed, since they would never learn of newly
// admitted peers.
func TestFallbackRemovesThePrograms(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	attachWith(t, gre.Attrs().Index, func(*Config) {})
	s, err := Attach(kerneltest.Log(t), Config{
		Device:    "gre1",
		Index:     gre.Attrs().Index,
		Mode:      ModeNFLOG,
		Admission: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := kerneltest.FiltersAt(t, gre, vnl.HANDLE_MIN_INGRESS); len(got) != 0 {
		t.Errorf("filters at ingress: %v", got)
	}
	if arrives(t, kerneltest.Spoke1, kerneltest.Datagram("172.16.11.5", "172.16.1.77", 60)) != 1 {
		t.Error("data is dropped, although nothing admits peers any more")
	}
	if err := s.Admit([]Admission{{NBMA: kerneltest.Spoke1NBMA}}); !errors.Is(err, ErrNoAdmission) {
		t.Errorf("admitting somebody: %v", err)
	}
	if _, err := s.Companion(); !errors.Is(err, ErrNoCompanion) {
		t.Errorf("the companion device: %v", err)
	}
	if err := s.EnableMarks(); !errors.Is(err, ErrNoMarks) {
		t.Errorf("marks: %v", err)
	}
}

// NFLOG hands on the packets that the kernel forwards back into the tunnel, and no others.
func TestNFLOGHandsOnPacketsThatTurnBack(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	cfg := Config{Device: "gre1", Index: gre.Attrs().Index, Redirect: true, Mode: ModeNFLOG}
	s, redirects := watchRedirects(t, cfg)
	addNFLOGRules(t, cfg)
	// The user's rules may match more than they have to.
	target := fmt.Sprintf(" -j NFLOG --nflog-group %d --nflog-size 128", nflogGroup("gre1"))
	kerneltest.RunWith(t, "", "iptables -I FORWARD -i gre1 -o lan0"+target)
	kerneltest.RunWith(t, "", "iptables -I INPUT -i gre1"+target)
	spoke := openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP)
	short, long := kerneltest.Datagram("172.16.11.5", "172.16.12.5", 60),
		kerneltest.Datagram("172.16.11.5", "172.16.12.6", 1300)
	six := kerneltest.Datagram("fd00:11::5", "fd00:12::5", 100)
	sendFrom(t, spoke, kerneltest.HubNBMA, kerneltest.Datagram("172.16.11.5", "172.16.1.77", 60),
		kerneltest.Datagram("172.16.11.5", "10.255.0.1", 60), short, short, long)
	sendFrom(t, openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IPV6), kerneltest.HubNBMA, six)
	for _, packet := range [][]byte{short, long, six} {
		packet = append([]byte(nil), packet[:min(len(packet), 128)]...)
		got := next(t, redirects)
		forwarded(packet)
		if diff := cmp.Diff(
			Redirect{kerneltest.Spoke1NBMA, packet}, got, cmp.Comparer(kerneltest.SameAddr),
		); diff != "" {
			t.Errorf("redirect (-want +got):\n%s", diff)
		}
	}
	if stats, err := s.Stats(); stats != (Stats{Sampled: 3, Foreign: 2}) || err != nil {
		t.Errorf("statistics %+v, %v", stats, err)
	}
	if _, err := s.Use(); !errors.Is(err, ErrNoUse) {
		t.Errorf("use: %v", err)
	}
}

// forwarded changes a packet as a router does before its FORWARD chain sees the packet.
func forwarded(packet []byte) {
	if packet[0]>>4 == 6 {
		packet[7]--
		return
	}
	packet[8]--
	packet[10]++ // the checksum
}

// If eBPF fails, redirects come from NFLOG.
func TestAttachFallsBackToNFLOG(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	kerneltest.RunWith(t, "", "tc qdisc add dev gre1 ingress")
	cfg := Config{Device: "gre1", Index: gre.Attrs().Index, Redirect: true}
	s, redirects := watchRedirects(t, cfg)
	if s.State().Mode != ModeNFLOG || !strings.Contains(s.State().Reason, "ingress qdisc") {
		t.Errorf("mode %q, reason %q", s.State().Mode, s.State().Reason)
	}
	addNFLOGRules(t, cfg)
	sendFrom(t, openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP), kerneltest.HubNBMA,
		kerneltest.Datagram("172.16.11.5", "172.16.12.5", 60))
	if r := next(t, redirects); r.From != kerneltest.Spoke1NBMA {
		t.Errorf("redirect from %v", r.From)
	}
	second, err := Attach(kerneltest.Log(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if st := second.State(); st.Mode != "" || !strings.Contains(st.Reason, "another program has this group") {
		t.Errorf("a second reader of the group: %+v", st)
	}
	second.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Attach(kerneltest.Log(t), cfg)
	if err != nil {
		t.Fatalf("after Close the group is free again: %v", err)
	}
	again.Close()
}

// NFLOG reports the redirects of every tunnel, and not only those of the first.
func TestNFLOGOnTwoTunnels(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	kerneltest.RunWith(t, "", "ip link add gre2 type dummy")
	other, err := vnl.LinkByName("gre2")
	if err != nil {
		t.Fatal(err)
	}
	second, err := Attach(kerneltest.Log(t), Config{
		Device:   "gre2",
		Index:    other.Attrs().Index,
		Redirect: true,
		Mode:     ModeNFLOG,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	cfg := Config{Device: "gre1", Index: gre.Attrs().Index, Redirect: true, Mode: ModeNFLOG}
	_, redirects := watchRedirects(t, cfg)
	addNFLOGRules(t, cfg)
	sendFrom(t, openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP), kerneltest.HubNBMA,
		kerneltest.Datagram("172.16.11.5", "172.16.12.5", 60))
	if r := next(t, redirects); r.From != kerneltest.Spoke1NBMA {
		t.Errorf("redirect from %v", r.From)
	}
}

// Run ends with its context and can be called again, in both modes.
func TestRunEndsAndStartsAgain(t *testing.T) {
	for _, mode := range []string{ModeEBPF, ModeNFLOG} {
		for _, redirect := range []bool{true, false} {
			t.Run(mode, func(t *testing.T) {
				if !kerneltest.OwnNamespace(t) {
					return
				}
				gre := kerneltest.HubAndSpokes(t)
				s, err := Attach(kerneltest.Log(t), Config{
					Device:   "gre1",
					Index:    gre.Attrs().Index,
					Redirect: redirect,
					Mode:     mode,
				})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				nothing := func(r Redirect) { t.Errorf("redirect %v", r) }
				for range 2 {
					ctx, cancel := context.WithCancel(context.Background())
					ended := make(chan error)
					go func() { ended <- s.Run(ctx, nothing) }()
					cancel()
					if err := <-ended; err != nil {
						t.Errorf("Run after its context ended: %v", err)
					}
				}
				ended := make(chan error)
				go func() { ended <- s.Run(context.Background(), nothing) }()
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if err := <-ended; err != nil {
					t.Errorf("Run after Close: %v", err)
				}
			})
		}
	}
}
