package xfrm

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"cygnet/kernel/sysctl"
)

// ClearCauses finds out why the kernel sends or takes GRE of a protected local address without
// IPsec. The causes are policies that come before the guard and let such packets pass, and settings
// that make the kernel ignore policies on one of the devices. Each text names the command that
// shows the cause.
func ClearCauses(local netip.Addr, devices []string) ([]string, error) {
	all, err := policies()
	if err != nil {
		return nil, err
	}
	return append(passPolicies(all, local), ignoring(devices, sysctl.Read)...), nil
}

// passPolicies describes the policies that come before the guard and let GRE of local pass in
// clear.
func passPolicies(all []policy, local netip.Addr) []string {
	guard := uint32(GuardPriority)
	if slices.ContainsFunc(all, func(p policy) bool { return p.isFront(local) }) {
		guard = GuardFront
	}
	var found []string
	for i := range all {
		p := &all[i]
		if p.action != actionAllow || p.demands || p.priority >= guard || !p.coversGRE(local) {
			continue
		}
		way, dir := "out", "out"
		if p.direction == directionIn {
			way, dir = "in", "in"
		}
		text := fmt.Sprintf(
			"an IPsec policy of priority %d lets GRE %s without ESP from %s to %s: "+
				"\"ip xfrm policy list dir %s\" shows it; find who set it (a connection with mode = pass, charon's bypass-lan plugin, a script)",
			p.priority, way, p.src, p.dst, dir)
		if !slices.Contains(found, text) {
			found = append(found, text)
		}
	}
	slices.Sort(found)
	return found
}

// ignoring describes the settings that make the kernel ignore policies.
func ignoring(devices []string, read func(path string) (string, error)) []string {
	var found []string
	for _, device := range append([]string{"all"}, devices...) {
		for _, setting := range []struct{ name, does string }{
			{"disable_xfrm", "sends without looking at IPsec policies"},
			{"disable_policy", "takes packets without looking at IPsec policies"},
		} {
			value, err := read("net/ipv4/conf/" + device + "/" + setting.name)
			if n, _ := strconv.Atoi(value); err != nil || n == 0 {
				continue
			}
			name := "net/ipv4/conf/" + device + "/" + setting.name
			found = append(found, fmt.Sprintf("the sysctl %s is %s: the kernel %s there; \"sysctl -w %s=0\" ends it, and "+
				"\"grep -r %s /etc/sysctl.d\" may show who sets it",
				name, value, setting.does, name, setting.name))
		}
	}
	return found
}
