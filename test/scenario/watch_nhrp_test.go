//go:build lab

package scenario

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"cygnet/test/lab"
)

// The monitor shows NHRP as it comes and goes, with what the daemon made of it, for all peers or
// for one and a type of messages. It writes a file in which tshark decodes each packet without a
// fault. The password is in neither.
func TestMonitor(t *testing.T) {
	m := lab.NewMesh(t, lab.ThirdSpoke())
	const password, other = "s3cret99", "another7"
	const pcapHeader = 24 // bytes
	for _, s := range m.Sites() {
		line := fmt.Sprintf("authentication = %q", password)
		if s == m.Spoke3 {
			line = fmt.Sprintf("authentication = %q", other)
		}
		s.Interface = append(s.Interface, line)
	}
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)

	all := m.Hub.Monitor("monitor-all")
	one := m.Hub.Monitor("monitor-one", "--peer", "10.255.0.11", "--interface", "gre1",
		"--type", "registration-request")
	file := m.Spoke1.Path("/run/spoke1.pcap")
	written := m.Spoke1.Monitor("monitor-file", "-w", file)
	m.Await("the monitors show a registration and the refusal of a password", later, func() error {
		_, _ = m.Spoke1.TryCygnet("register", "now")
		out := all.Output()
		if !hasLine(out, "in  from 192.0.2.11 (spoke1.example.net): accepted") ||
			!hasLine(out, "in  from 192.0.2.13 (spoke3.example.net): dropped: authentication") {
			return fmt.Errorf("all shows\n%s", out)
		}
		// The one that writes has begun to watch once a packet is behind the header of its file.
		if st, err := os.Stat(file); err != nil || st.Size() <= pcapHeader {
			return fmt.Errorf("the file has no packet yet, %v", err)
		}
		return lab.True(strings.Contains(one.Output(), "registration request"), "one shows\n%s",
			one.Output())
	})
	shortcut(m)
	m.Await("the hub's monitor shows the way of a question", soon, func() error {
		out := all.Output()
		for _, words := range [][]string{
			{"traffic indication", "hop count 255"},
			{"about a packet from 172.16.1.10 to 172.16.2.10"},
			{"resolution request", "request ID", "flags: router, authoritative"},
			{"source 10.255.0.11 at 192.0.2.11, destination 172.16.2.10"},
			{"extension authentication (compulsory)", "not shown"},
			{"extension forward transit NHS record"},
			{"CIE:", "holding time 600 s"},
		} {
			if !hasLine(out, words...) {
				return fmt.Errorf("no line has %q:\n%s", words, out)
			}
		}
		return nil
	})
	for _, p := range []*lab.Process{all, one, written} {
		p.Signal(syscall.SIGINT)
		if code := p.Wait(soon); code != 0 || !contains(p.Output(), "packet") {
			t.Errorf("%s ended with %d:\n%s", p.Name, code, p.Output())
		}
	}
	if out := one.Output(); contains(out, "192.0.2.12") && hasLine(out, "gre1", "192.0.2.12") ||
		contains(out, "registration reply") {
		t.Errorf("the monitor of spoke1's requests shows spoke2 or a reply:\n%s", out)
	}
	t.Logf("the monitor of one peer\n%s", one.Output())

	var packets int
	if _, err := fmt.Sscanf(written.Output(), "%d packet", &packets); err != nil || packets == 0 {
		t.Fatalf("the file's monitor says %q", written.Output())
	}
	rows := 0
	for line := range strings.Lines(m.Spoke1.Run("tshark", "-r", file, "-T", "fields",
		"-E", "separator=,", "-E", "occurrence=f", "-e", "frame.number", "-e", "nhrp.hdr.op.type", "-e",
		"nhrp.hdr.chksum.status", "-e", "_ws.malformed", "-e", "ip.proto")) {
		fields := strings.Split(strings.TrimSpace(line), ",")
		if len(fields) != 5 || fields[0] == "" {
			continue // a warning of tshark's own
		}
		rows++
		if fields[1] == "" || fields[2] != "1" || fields[3] != "" || fields[4] != "47" {
			t.Errorf("tshark finds fault with %s", line)
		}
	}
	if rows != packets {
		t.Errorf("tshark decodes %d packets of %d", rows, packets)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{password, other} {
		if strings.Contains(string(data), secret) || strings.Contains(all.Output(), secret) {
			t.Errorf("the password %s is shown", secret)
		}
	}
	encrypted(m)
}
