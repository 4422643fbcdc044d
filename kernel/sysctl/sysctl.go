// Package sysctl reads, sets and checks settings of the kernel below /proc/sys.
package sysctl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const sysctlRoot = "/proc/sys"

// Read reads a setting by its path below /proc/sys: device names may hold dots, so the dotted form
// does not do.
func Read(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctlRoot, path))
	return strings.TrimSpace(string(b)), err
}

// Set sets a setting that has another value, and says whether it had.
func Set(path, value string) (changed bool, err error) {
	have, err := Read(path)
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

// Setting is a setting by its path below /proc/sys, and why it must be so.
type Setting struct {
	Path, Value, Why string
}

// Ensure sets what differs and returns it.
func Ensure(list []Setting) (changed []Setting, err error) {
	for _, s := range list {
		set, problem := Set(s.Path, s.Value)
		err = errors.Join(err, problem)
		if set {
			changed = append(changed, s)
		}
	}
	return changed, err
}
