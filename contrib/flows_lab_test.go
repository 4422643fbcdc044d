//go:build lab

package contrib

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// flow is who sends to whom, and who exported that.
type flow struct{ exporter, from, to netip.Addr }

func (f flow) String() string { return fmt.Sprintf("%s by %s to %s", f.from, f.exporter, f.to) }

// exporting is a mesh whose routers export their flows to the host in the hub's LAN.
type exporting struct{ *lab.Mesh }

// filtered matches what ss shows of pmacctd's packet socket once that has the filter of the
// example. libpcap has a filter of one instruction there before, and drops what comes until then.
var filtered = regexp.MustCompile(`"pmacctd".*\n\s*bpf filter \(([2-9]|\d\d)`)

// pmacctd starts pmacctd on a router with an example, except that it stays in the foreground and
// exports flows after a second or two. It returns once pmacctd sees the packets in the tunnel.
func (e *exporting) pmacctd(s *lab.Site, example string) {
	e.Helper()
	config := strings.NewReplacer("daemonize: true", "daemonize: false", "syslog: daemon", "",
		"=60", "=1", "=10", "=1").Replace(example)
	s.WriteFile("/run/pmacctd.conf", 0o644, config)
	s.Router.Start("pmacctd", nil, "pmacctd", "-f", "/run/pmacctd.conf")
	e.Await("pmacctd runs on "+s.Name, 60*time.Second, func() error {
		sockets := s.Run("ss", "--packet", "--processes", "--bpf")
		return lab.True(filtered.MatchString(sockets), "the packet sockets are\n%s", sockets)
	})
}

// awaitBytes awaits that the collector has as many bytes of each flow.
func (e *exporting) awaitBytes(what string, want map[flow]int) {
	e.Helper()
	e.Await("the collector has "+what, 60*time.Second, func() error {
		got, err := e.collected()
		if err != nil {
			return err
		}
		for f, n := range want {
			if got[f] != n {
				return fmt.Errorf("of %s it has %d bytes, want %d; it has %v", f, got[f], n, got)
			}
		}
		return nil
	})
}

// collected returns the bytes of echo requests and replies that the collector has of each flow.
func (e *exporting) collected() (map[flow]int, error) {
	out, err := e.Hub.Host.Try("nfdump", "-R", "/run/flows", "-q", "-N",
		"-o", "fmt:%ra,%sa,%da,%byt", "proto icmp")
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	all := map[flow]int{}
	for line := range strings.Lines(out) {
		words := strings.Split(strings.ReplaceAll(strings.TrimSpace(line), " ", ""), ",")
		if len(words) != 4 {
			return nil, fmt.Errorf("nfdump printed %q", line)
		}
		var addresses [3]netip.Addr
		for i := range addresses {
			if addresses[i], err = netip.ParseAddr(words[i]); err != nil {
				return nil, fmt.Errorf("nfdump printed %q: %w", line, err)
			}
		}
		n, err := strconv.Atoi(words[3])
		if err != nil {
			return nil, fmt.Errorf("nfdump printed %q: %w", line, err)
		}
		all[flow{addresses[0], addresses[1], addresses[2]}] += n
	}
	return all, nil
}

// fivePings is how many bytes five echo requests of ping have, and as many their answers.
const fivePings = 5 * (20 + 8 + 1000)

// ping sends five echo requests of 1000 bytes.
func ping(from *lab.Host, to netip.Addr) {
	from.Run("ping", "-n", "-c", "5", "-i", "0.05", "-W", "5", "-s", "1000", to.String())
}

// The examples for pmacctd show the flows of each pair of sites with their addresses and bytes:
// that of the hub while the packets pass the hub, those of the spokes also on the direct path.
func TestFlows(t *testing.T) {
	e := &exporting{lab.NewMesh(t)}
	redirect := &e.Hub.Interface[len(e.Hub.Interface)-1]
	*redirect = "redirect = false"
	collector := e.Hub.Host
	collector.Run("mkdir", "/run/flows")
	collector.Start("nfcapd", nil, "nfcapd", "-w", "/run/flows", "-p", "4739", "-t", "2")
	e.Await("nfcapd listens", 60*time.Second, func() error {
		sockets := collector.Run("ss", "--udp", "--listening", "--numeric")
		return lab.True(strings.Contains(sockets, ":4739 "), "the sockets are\n%s", sockets)
	})
	e.Start()
	for _, s := range []*lab.Site{e.Spoke1, e.Spoke2} {
		e.Await(s.Name+" is registered", 60*time.Second, func() error {
			return state(s.Router, "nhs", "registered")
		})
	}
	host1, host2 := e.Spoke1.Host, e.Spoke2.Host
	e.Await("the hosts reach each other", 60*time.Second, func() error {
		return host1.Reaches(host2.Addr)
	})
	e.pmacctd(e.Hub, read(t, "pmacct/hub.conf"))
	e.pmacctd(e.Spoke1, read(t, "pmacct/spoke.conf"))
	e.pmacctd(e.Spoke2, read(t, "pmacct/spoke.conf"))
	atHub := netip.MustParseAddr("172.16.0.1")

	ping(host1, host2.Addr)
	ping(host1, collector.Addr)
	ping(host2, collector.Addr)
	e.awaitBytes("what passed the hub", map[flow]int{
		{atHub, host1.Addr, host2.Addr}:     fivePings,
		{atHub, host2.Addr, host1.Addr}:     fivePings,
		{atHub, host1.Addr, collector.Addr}: fivePings,
		{atHub, collector.Addr, host1.Addr}: fivePings,
		{atHub, host2.Addr, collector.Addr}: fivePings,
		{atHub, collector.Addr, host2.Addr}: fivePings,

		{e.Spoke1.Overlay, host1.Addr, host2.Addr}:     fivePings,
		{e.Spoke1.Overlay, host2.Addr, host1.Addr}:     0,
		{e.Spoke1.Overlay, host1.Addr, collector.Addr}: fivePings,
		{e.Spoke2.Overlay, host2.Addr, host1.Addr}:     fivePings,
	})

	*redirect = "redirect = true"
	e.Hub.WriteFile(lab.CygnetConfig, 0o640, e.Hub.Config())
	e.Hub.Cygnet("reload")
	e.Await("the direct path", 60*time.Second, func() error {
		if err := host1.Reaches(host2.Addr); err != nil {
			return err
		}
		return lab.True(e.Spoke1.NextHop(host2.Addr) == e.Spoke2.Overlay &&
			e.Spoke2.NextHop(host1.Addr) == e.Spoke1.Overlay, "by the hub")
	})
	other := e.Spoke2.Router.Host("other")
	ping(host1, other.Addr)
	witness := e.Hub.Router.Host("witness") // what the hub saw before is exported with this flow
	ping(host1, witness.Addr)
	e.awaitBytes("what took the direct path", map[flow]int{
		{e.Spoke1.Overlay, host1.Addr, other.Addr}: fivePings,
		{e.Spoke2.Overlay, other.Addr, host1.Addr}: fivePings,

		{atHub, host1.Addr, witness.Addr}: fivePings,

		{atHub, host1.Addr, other.Addr}: 0,
		{atHub, other.Addr, host1.Addr}: 0,
	})
	if n := e.Underlay.Count(lab.OfKind(lab.GRE)); n > 0 {
		t.Errorf("%d packets of clear GRE on the underlay", n)
	}
}
