package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// tunnelSysctls sets what a tunnel of this name must have. ICMP redirects off, on all and on it (the kernel takes the OR of both): a
// hub would tell spokes to use next hops that they cannot reach.
func tunnelSysctls(device string) (changed []string, err error) {
	for _, path := range []string{"net/ipv4/conf/all/send_redirects", "net/ipv4/conf/" + device + "/send_redirects"} {
		set, problem := setSysctl(path, "0")
		err = errors.Join(err, problem)
		if set {
			changed = append(changed, path)
		}
	}
	return changed, err
}
