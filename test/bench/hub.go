package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The hub's namespace and addresses. The generator is in the namespace in which the program was
// started.
const (
	hubNamespace = "bench-hub"
	hubDevice    = "gre1"
	genDevice    = "bench0"
	filesDir     = "/dev/shm/cygnet-bench"
	apiSocket    = filesDir + "/cygnet.sock"
)

var (
	hubNBMA    = netip.MustParseAddr("192.0.2.1")
	hubOverlay = netip.MustParseAddr("10.64.0.1")
)

// hub is a namespace in which one of the compared programs, the subject, runs as the hub.
type hub struct {
	programs []*exec.Cmd
	state    string           // the file in which the subject saves its state; empty: it saves none
	mac      net.HardwareAddr // MAC address of its device on the underlay
}

// The names of the subjects.
const (
	frr      = "frr"
	cygnetd  = "cygnetd"
	earlier  = "before" // another build of cygnetd
	bareLoop = "bare"
)

// startHub creates a new namespace and starts the subject in it. It does not wait until the subject
// answers.
func startHub(ctx context.Context, o options, subject string) (*hub, error) {
	exec.Command("ip", "netns", "del", hubNamespace).Run() // fails if there is none
	if err := errors.Join(os.RemoveAll(filesDir), os.MkdirAll(filesDir, 0o755)); err != nil {
		return nil, err
	}
	h := &hub{}
	if err := errors.Join(neighborLimits(o.tables), h.makeNetwork()); err != nil {
		return nil, err
	}
	var err error
	switch subject {
	case frr:
		err = errors.Join(h.makeTunnel(), h.startFRR(ctx))
	case cygnetd:
		err = h.startCygnetd(ctx, o.cygnetd, o.logLevel)
	case earlier:
		err = h.startCygnetd(ctx, o.before, o.logLevel)
	case bareLoop:
		err = errors.Join(h.makeTunnel(), h.start(ctx, "/proc/self/exe", bareLoop))
	default:
		err = fmt.Errorf("there is no such subject; there are %s, %s, %s and %s",
			frr, cygnetd, earlier, bareLoop)
	}
	if err != nil {
		h.stop()
		return nil, err
	}
	return h, nil
}

// makeNetwork connects the namespace with this one. All spokes are behind one address, so that the
// hub resolves only one MAC address.
func (h *hub) makeNetwork() error {
	for _, line := range []string{
		// no packet of the generator's burst may be lost on the way
		"sysctl -qw net.core.netdev_max_backlog=100000",
		"ip netns add " + hubNamespace,
		"ip link add " + genDevice + " type veth peer name eth0 netns " + hubNamespace,
		"ip addr add 192.0.2.2/30 dev " + genDevice,
		"ip link set " + genDevice + " up",
		"ip -n " + hubNamespace + " link set lo up",
		"ip -n " + hubNamespace + " addr add 192.0.2.1/30 dev eth0",
		"ip -n " + hubNamespace + " link set eth0 up",
		"ip -n " + hubNamespace + " route add 198.18.0.0/15 via 192.0.2.2",
		"ip netns exec " + hubNamespace + " sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0",
	} {
		if err := command(line); err != nil {
			return err
		}
	}
	out, err := exec.Command("ip", "netns", "exec", hubNamespace, "cat", "/sys/class/net/eth0/address").Output()
	if err != nil {
		return fmt.Errorf("read the hub's MAC address: %w", err)
	}
	h.mac, err = net.ParseMAC(strings.TrimSpace(string(out)))
	return err
}

// neighborLimits sets the limits of the kernel's neighbour tables, which the initial namespace sets
// for all: the kernel's defaults, or what the administrator of a large hub would set.
func neighborLimits(defaults bool) error {
	limits := [3]int{4 * maxSpokes, 8 * maxSpokes, 16 * maxSpokes}
	if defaults {
		limits = [3]int{128, 512, 1024}
	}
	for i := 2; i >= 0; i-- {
		name := fmt.Sprintf("/proc/sys/net/ipv4/neigh/default/gc_thresh%d", i+1)
		if err := os.WriteFile(name, []byte(strconv.Itoa(limits[i])), 0o644); err != nil {
			return fmt.Errorf("set the limits of the neighbour table: %w", err)
		}
	}
	return nil
}

// makeTunnel creates the tunnel for a subject that does not create it itself.
func (h *hub) makeTunnel() error {
	for _, line := range []string{
		"link add " + hubDevice + " type gre local 192.0.2.1 ttl 64",
		"addr add 10.64.0.1/32 dev " + hubDevice,
		"link set " + hubDevice + " mtu 1400 arp on up",
		"route add 10.64.0.0/16 dev " + hubDevice,
	} {
		if err := command("ip -n " + hubNamespace + " " + line); err != nil {
			return err
		}
	}
	return nil
}

const frrConfig = `nhrp nflog-group 1
interface gre1
 ip nhrp network-id 1
 ip nhrp redirect
`

// startFRR starts zebra and nhrpd. It also sets the rule that shows nhrpd the packets that the hub
// sends back into the tunnel.
func (h *hub) startFRR(ctx context.Context) error {
	account, err := user.Lookup("frr")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	config, empty := filepath.Join(filesDir, "nhrpd.conf"), filepath.Join(filesDir, "zebra.conf")
	if err := errors.Join(os.MkdirAll("/run/frr", 0o755), os.Chown("/run/frr", uid, gid),
		os.WriteFile(config, []byte(frrConfig), 0o644),
		os.WriteFile(empty, nil, 0o644)); err != nil {
		return err
	}
	if err := command("ip netns exec " + hubNamespace + " iptables -A FORWARD -i gre1 -o gre1 -j NFLOG --nflog-group 1 --nflog-size 128"); err != nil {
		return err
	}
	if err := h.start(
		ctx, "/usr/lib/frr/zebra", "-f", empty, "--log", "stdout", "--log-level", "errors",
	); err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("unix", "/run/frr/zserv.api"); err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			return errors.New("zebra does not answer")
		}
	}
	return h.start(ctx, "/usr/lib/frr/nhrpd", "-f", config, "--log", "stdout", "--log-level", "errors")
}

const cygnetConfig = `[daemon]
api_socket = "DIR/cygnet.sock"
state_dir = "DIR/state"

[log]
level = "LEVEL"

[interface.gre1]
address = "10.64.0.1/16"
underlay = "eth0"
protection = "none"
redirect = true

[interface.gre1.limits]
bindings = 20000
`

func (h *hub) startCygnetd(ctx context.Context, program, level string) error {
	config := filepath.Join(filesDir, "cygnet.toml")
	if err := os.WriteFile(
		config,
		[]byte(strings.NewReplacer("DIR", filesDir, "LEVEL", level).Replace(cygnetConfig)),
		0o600,
	); err != nil {
		return err
	}
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	h.state = filepath.Join(filesDir, "state", "state.json")
	return h.start(ctx, program, "-config", config)
}

// start starts a program in the hub's namespace. Its output goes to a file on tmpfs.
func (h *hub) start(ctx context.Context, program string, args ...string) error {
	if program == "/proc/self/exe" {
		var err error
		if program, err = os.Executable(); err != nil {
			return err
		}
	}
	log, err := os.Create(filepath.Join(filesDir, filepath.Base(program)+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, "ip",
		append([]string{"netns", "exec", hubNamespace, program}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	h.programs = append(h.programs, cmd)
	return nil
}

// saveTime is the longest time after a change until a daemon with many clients has saved its state,
// with a margin.
const saveTime = 8 * time.Second

// awaitSave waits until the subject has saved its state after the time since, or finds that it had
// nothing to save.
func (h *hub) awaitSave(since time.Time) {
	for h.state != "" && time.Since(since) < saveTime {
		if info, err := os.Stat(h.state); err == nil && info.ModTime().After(since) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// stop stops the subject and removes the network.
func (h *hub) stop() {
	for _, p := range h.programs {
		p.Process.Kill()
		p.Wait()
	}
	os.RemoveAll("/run/frr")
	exec.Command("ip", "netns", "del", hubNamespace).Run()
	// the kernel may already be deleting it
	exec.Command("ip", "link", "del", genDevice).Run()
}

// present returns how many spokes have a usable neighbour with the right address in the hub's
// kernel.
func (h *hub) present(spokes int) (int, error) {
	out, err := exec.Command("ip", "-n", hubNamespace, "neigh", "show", "dev", hubDevice, "nud",
		"all").Output()
	if err != nil {
		return 0, fmt.Errorf("read the hub's neighbours: %w", err)
	}
	table := make(map[netip.Addr]netip.Addr)
	for line := range bytes.Lines(out) {
		fields := strings.Fields(string(line))
		if len(fields) < 4 || fields[1] != "lladdr" || fields[len(fields)-1] == "FAILED" {
			continue
		}
		protocol, _ := netip.ParseAddr(fields[0])
		table[protocol], _ = netip.ParseAddr(fields[2])
	}
	count := 0
	for i := range spokes {
		if table[overlayOf(i)] == nbmaOf(i) {
			count++
		}
	}
	return count, nil
}

// command runs a command line, which it splits at blanks.
func command(line string) error {
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, bytes.TrimSpace(out))
	}
	return nil
}
