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

// Read returns the value of a setting. It takes the path below /proc/sys, and not the name with
// dots, because device names may contain dots.
func Read(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctlRoot, path))
	return strings.TrimSpace(string(b)), err
}

// Set gives a setting a value, unless it has that value already. It reports whether it changed the
// setting.
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

// Setting is a path below /proc/sys, the value that the setting has to have, and the reason.
type Setting struct {
	Path, Value, Why string
}

// Ensure sets every setting that has another value, and returns those that it changed. An error
// does not keep it from setting the others.
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
