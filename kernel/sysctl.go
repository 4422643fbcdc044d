package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const sysctlRoot = "/proc/sys"

// readSysctl reads a setting by its path below /proc/sys: device names may hold dots, so the dotted form does not do.
func readSysctl(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctlRoot, path))
	return strings.TrimSpace(string(b)), err
}

// setSysctl sets a setting that has another value, and says whether it had.
func setSysctl(path, value string) (changed bool, err error) {
	have, err := readSysctl(path)
	if err != nil {
		return false, fmt.Errorf("read the sysctl %s: %w", path, err)
	}
	if have == value {
		return false, nil
	}
	err = os.WriteFile(filepath.Join(sysctlRoot, path), []byte(value), 0o644)
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EACCES) {
		return false, fmt.Errorf("set the sysctl %s from %s to %s: %w (set it in /etc/sysctl.d, or let the daemon write it)", path, have, value, err)
	}
	if err != nil {
		return false, fmt.Errorf("set the sysctl %s from %s to %s: %w", path, have, value, err)
	}
	return true, nil
}

// sysctl is a setting by its path below /proc/sys, and why it must be so.
type sysctl struct {
	path, value, why string
}

// tunnelSysctls are the settings that a tunnel must have. ICMP redirects off, on all and on it (the kernel takes the OR of both).
func tunnelSysctls(c TunnelConfig) []sysctl {
	const noRedirects = "redirects would name next hops that peers cannot reach"
	list := []sysctl{
		{"net/ipv4/conf/all/send_redirects", "0", noRedirects},
		{"net/ipv4/conf/" + c.Name + "/send_redirects", "0", noRedirects},
	}
	if !c.ResolveMisses {
		return list
	}
	const asksUs = "neighbours that are missing are asked of the daemon, and packets wait meanwhile"
	family := "ipv4"
	if c.Address.Addr().Is6() {
		family = "ipv6"
	}
	table := "net/" + family + "/neigh/" + c.Name + "/"
	return append(list,
		sysctl{table + "app_solicit", strconv.Itoa(missTries), asksUs},
		sysctl{table + "mcast_solicit", "0", asksUs},
		sysctl{table + "ucast_solicit", "0", asksUs})
}

// missTries is how often the kernel asks for a neighbour, and thereby for how many seconds it holds packets.
const missTries = 5

// ensureSysctls sets what differs and returns it.
func ensureSysctls(list []sysctl) (changed []sysctl, err error) {
	for _, s := range list {
		set, problem := setSysctl(s.path, s.value)
		err = errors.Join(err, problem)
		if set {
			changed = append(changed, s)
		}
	}
	return changed, err
}
