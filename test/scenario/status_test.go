//go:build lab

package scenario

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// problem awaits that the status of a site has a problem of a kind with all of these words, and
// that the output for people has the first of them. Without words it awaits that the problem is
// gone.
func problem(
	m *lab.Mesh, s *lab.Site, within time.Duration, code api.ProblemCode, words ...string,
) {
	m.Helper()
	m.Await(fmt.Sprintf("the status of %s on %s: %q", s.Name, code, words), within, func() error {
		var st api.Status
		if err := s.CygnetJSON(&st, "status"); err != nil {
			return err
		}
		i := slices.IndexFunc(st.Problems, func(p api.Problem) bool { return p.Code == code })
		switch {
		case i < 0 && len(words) == 0:
			return nil
		case i < 0:
			return fmt.Errorf("it has only %+v", st.Problems)
		case len(words) == 0 || !contains(st.Problems[i].Text+st.Problems[i].Remedy, words...):
			return fmt.Errorf("it has %+v", st.Problems[i])
		}
		if out := s.Cygnet("status"); !contains(out, words[0]) {
			return fmt.Errorf("in words it says\n%s", out)
		}
		return nil
	})
}

// mayLook checks that the group 4 may look and do nothing, and that another one may not even look.
func mayLook(m *lab.Mesh, s *lab.Site) {
	m.Helper()
	folder, err := os.MkdirTemp("", "look")
	if err == nil {
		err = os.Chmod(folder, 0o777)
	}
	if err != nil {
		m.Fatalf("make a folder for a report: %v", err)
	}
	defer os.RemoveAll(folder)
	report := folder + "/report.tar.gz"
	for _, look := range []struct {
		words []string
		want  []string
	}{
		{[]string{"peers"}, []string{"192.0.2.1"}},
		{[]string{"explain", "10.255.0.1"}, []string{"10.255.0.1"}},
		{[]string{"peer", "blocked"}, nil},
		{[]string{"netcheck"}, []string{"port 500 answers", "run it as root",
			"not measured: this user may not have packets sent"}},
		{[]string{"report", "-w", report}, []string{"version.txt", "metrics.txt",
			"charon's SAs (exit status", "run it as root for the rest"}},
	} {
		out, err := s.CygnetAs("4", look.words...)
		warned := look.words[0] == "netcheck" // of the guest's clock
		if err != nil && !warned || !contains(out, look.want...) {
			m.Errorf("who may look sees of %q %v\n%s", look.words, err, out)
		}
	}
	for name, want := range map[string]string{
		"status.json": `"identity": "hub.example.net"`, "sas.json": `"bytes_in"`,
		"events.txt": "ready", "metrics.txt": "cygnet_peer_secured",
	} {
		if out := s.Run("tar", "-xOzf", report, "cygnet-report/"+name); !contains(out, want) {
			m.Errorf("%s of a report by who may look: want %q, have\n%s", name, want, out)
		}
	}
	if out, err := s.CygnetAs("4", "register", "now"); err == nil ||
		!contains(out+err.Error(), "only look") {
		m.Errorf("who may look registers: %v\n%s", err, out)
	}
	if out, err := s.CygnetAs("65534", "peers"); err == nil || contains(out, "192.0.2.1") ||
		!contains(out, "api_view_group") {
		m.Errorf("anybody may look: %v\n%s", err, out)
	}
}

// statusExits awaits that cygnet status ends with an exit code.
func statusExits(m *lab.Mesh, s *lab.Site, want int) {
	m.Helper()
	m.Await(fmt.Sprintf("cygnet status on %s exits with %d", s.Name, want), soon, func() error {
		if code, out := s.StatusCode(); code != want {
			return fmt.Errorf("it exits with %d:\n%s", code, out)
		}
		return nil
	})
}

// sameCounts awaits that the list of SAs has the bytes that the kernel counts at this moment for
// the SA with a peer. It returns the totals over rekeyings.
func sameCounts(m *lab.Mesh, s, peer *lab.Site) (in, out uint64) {
	m.Helper()
	m.Await("the list of SAs has the kernel's counts", soon, func() error {
		var sas []api.SA
		if err := s.CygnetJSON(&sas, "sas"); err != nil {
			return err
		}
		counts := map[string]uint64{}
		for _, st := range s.XfrmStates() {
			counts[fmt.Sprintf("%s %08x", st.Dst, st.SPI)] = st.Bytes
		}
		for _, sa := range sas {
			for _, c := range sa.Children {
				if sa.Remote != peer.Public {
					continue
				}
				if counts[s.Public.String()+" "+c.SPIIn] != c.BytesIn ||
					counts[peer.Public.String()+" "+c.SPIOut] != c.BytesOut {
					return fmt.Errorf("listed %+v, the kernel has %v", c, counts)
				}
				in, out = c.TotalIn, c.TotalOut
				return nil
			}
		}
		return fmt.Errorf("there is no SA with %s: %+v", peer.Name, sas)
	})
	return in, out
}

// On a router where all is well the status reports no problem. It reports each thing that keeps the
// router from working, until that is over. The list of SAs has the kernel's counts of the moment,
// over rekeyings, and says when it is old.
func TestStatusTellsTheTruth(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	s := m.Spoke1
	registered(m, s, soon)
	statusExits(m, s, 0)

	s.Host.Ping(m.Hub.Host.Addr, 20)
	in, out := sameCounts(m, s, m.Hub)
	if in < 20*64 || out < 20*64 {
		t.Errorf("20 pings made %d bytes in and %d out", in, out)
	}
	s.Run("swanctl", "--rekey", "--child", "gre")
	m.Await("the SA with the hub is rekeyed", soon, func() error {
		var sas []api.SA
		if err := s.CygnetJSON(&sas, "sas"); err != nil {
			return err
		}
		for _, sa := range sas {
			for _, c := range sa.Children {
				if sa.Remote == m.Hub.Public && c.TotalIn > c.BytesIn {
					return nil
				}
			}
		}
		return fmt.Errorf("the SAs are %+v", sas)
	})
	if afterIn, afterOut := sameCounts(m, s, m.Hub); afterIn < in || afterOut < out {
		t.Errorf("of %d bytes in and %d out the rekeying left %d and %d", in, out, afterIn,
			afterOut)
	}

	good := s.Config()
	s.WriteFile(lab.CygnetConfig, 0o640, good+"\nadress = 1\n")
	s.Daemon.Signal(syscall.SIGHUP)
	problem(m, s, soon, api.ProblemReload, "the last reload failed", "adress")
	statusExits(m, s, 5)
	s.WriteFile(lab.CygnetConfig, 0o640, good)
	s.Daemon.Signal(syscall.SIGHUP)
	problem(m, s, soon, api.ProblemReload)

	// The configuration names a device that this host does not have, and a group that does not
	// exist. The tunnel stays up and carries traffic, and the daemon runs.
	s.WriteFile(lab.CygnetConfig, 0o640,
		replace(good, `underlay = "eth0"`, `underlay = "eth77"`, "[daemon]",
			"[daemon]\napi_group = \"nobodies\"\nmetrics = \"192.0.2.99:9116\""))
	s.Daemon.Kill()
	s.Daemon.Start()
	problem(m, s, soon, api.ProblemInterface, "there is no device eth77")
	problem(m, s, soon, api.ProblemAPIGroup, `no group "nobodies"`)
	problem(m, s, soon, api.ProblemMetrics, "192.0.2.99:9116")
	s.WriteFile(lab.CygnetConfig, 0o640,
		replace(good, "[daemon]", "[daemon]\nmetrics = \"127.0.0.1:9116\"\nmetrics_peers = 1\n"+
			"api_view_group = \"4\""))
	s.Daemon.Kill()
	s.Daemon.Start()
	problem(m, s, soon, api.ProblemMetrics)
	m.Await("the metrics are served", soon, func() error {
		text, err := s.Metrics("127.0.0.1:9116")
		return errors.Join(err, lab.True(contains(text,
			`cygnet_peer_secured{interface="gre1",peer="192.0.2.1",identity="hub.example.net"} 1`,
			`cygnet_state_saved_seconds_count `), "they are\n%s", text))
	})
	mayLook(m, s)
	var st api.Status
	if err := s.CygnetJSON(&st, "status"); err != nil || len(st.Interfaces) != 1 ||
		!st.Interfaces[0].Up || st.Interfaces[0].Index == 0 {
		t.Errorf("the tunnel is up, and the status has %+v, %v", st.Interfaces, err)
	}
	s.WriteFile(lab.CygnetConfig, 0o640, good)
	s.Daemon.Kill()
	s.Daemon.Start()
	problem(m, s, soon, api.ProblemInterface)
	statusExits(m, s, 0)

	s.Charon.Kill()
	problem(m, s, soon, api.ProblemStrongSwan, "strongSwan is not reachable")
	if text := s.Cygnet("sas"); !contains(text, "strongSwan does not answer for",
		"this list is as old") {
		t.Errorf("without charon the list of SAs says\n%s", text)
	}
	if text := s.Cygnet("leave"); !contains(text,
		"SAs are NOT closed, since strongSwan does not answer") {
		t.Errorf("without charon leave says\n%s", text)
	}
	statusExits(m, s, 6)
	if text := s.Cygnet("status"); !contains(text, "nhs        192.0.2.1: left") ||
		contains(text, "WRONG") {
		t.Errorf("after leaving the status is\n%s", text)
	}
}
