package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// views are the commands whose output Save writes for every node, and the names of the files.
var views = []struct{ file, command string }{
	{"addresses", "ip -d -s addr"},
	{"routes", "ip route show table all; ip rule"},
	{"neighbors", "ip -s neigh show nud all"},
	{"xfrm-state", "ip -s xfrm state"},
	{"xfrm-policy", "ip -s xfrm policy"},
	{"xfrm-stat", "cat /proc/net/xfrm_stat"},
	{"counters", "cat /proc/net/snmp"},
	{"raw-sockets", "cat /proc/net/raw"}, // counts the packets for which a socket had no room
	{"nat", "case $(pwd) in *-nat) iptables-save -c;; esac"},
	{
		"sas",
		"[ -S /run/charon.vici ] && { timeout 10 swanctl --list-sas; timeout 10 swanctl --list-conns; }",
	},
	{"journal", "[ ! -d /run/systemd/system ] || journalctl --boot --no-pager -o short-precise"},
	{"cygnet", `[ -S /run/cygnet/cygnet.sock ] && for what in status peers bindings shortcuts nhs routes sas; do
		echo "== $what"; timeout 10 "$CYGNET" "$what"; done`},
}

// Save writes the logs and tables of all nodes, and all captures, to the directory test/out/NAME of
// the project, and returns that directory. If a command fails, the file has the error message.
func (n *Net) Save() string {
	root, err := Root()
	if err != nil {
		n.Errorf("%v", err)
		return n.dir
	}
	dir := filepath.Join(root, "test", "out", strings.ReplaceAll(n.Name(), "/", "-"))
	if err := os.RemoveAll(dir); err != nil {
		n.Errorf("%v", err)
	}
	for _, node := range n.nodes {
		if err := node.save(
			filepath.Join(dir, node.Name),
			filepath.Join(root, "bin", "cygnet"),
		); err != nil {
			n.Errorf("save %s: %v", node.Name, err)
		}
	}
	var losses strings.Builder
	for _, f := range n.flows {
		losses.WriteString(f.losses())
	}
	processes, _ := n.inet.Try("ps", "-ef")
	// The kernel's messages show, for example, that it had no memory for a packet.
	messages, _ := n.inet.Try("dmesg")
	// The second column counts the packets for which the kernel's backlog had no room.
	backlog, _ := n.inet.Try("cat", "/proc/net/softnet_stat")
	for name, text := range map[string]string{
		"lost-requests":   losses.String(),
		"processes":       processes,
		"kernel-messages": messages,
		"backlog":         backlog,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			n.Errorf("save %s: %v", name, err)
		}
	}
	for _, c := range n.captures {
		if err := c.WritePcap(filepath.Join(dir, c.name+".pcap")); err != nil {
			n.Errorf("save the capture: %v", err)
		}
	}
	return dir
}

// save writes the files of one node. One shell runs all commands, since starting a program is slow
// in user-mode Linux.
func (n *Node) save(dir, cygnet string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	script := "cd '" + dir + "'; CYGNET='" + cygnet + "'\n"
	for _, v := range views {
		script += "{ " + v.command + "; } >" + v.file + " 2>&1\n"
	}
	if out, err := n.Try("sh", "-c", script+"true"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	for _, v := range views {
		if st, err := os.Stat(filepath.Join(dir, v.file)); err == nil && st.Size() == 0 {
			os.Remove(filepath.Join(dir, v.file))
		}
	}
	return n.saveLogs(dir)
}

// saveLogs copies the node's logs, and the daemon's configuration, to a directory. It leaves out
// empty files.
func (n *Node) saveLogs(dir string) error {
	logs, err := filepath.Glob(filepath.Join(n.dir, "log", "*"))
	if err != nil {
		return err
	}
	for _, log := range append(logs, n.Path(CygnetConfig)) {
		text, err := os.ReadFile(log)
		if os.IsNotExist(err) || len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(log)), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
