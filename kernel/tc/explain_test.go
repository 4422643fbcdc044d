package tc

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Explain adds to the kernel's errors what the user can do.
func TestErrorsSayWhatToDo(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		word string
	}{
		"privileges":  {unix.EPERM, "CAP_BPF and CAP_NET_ADMIN"},
		"lockdown":    {unix.EACCES, "lockdown"},
		"old kernel":  {unix.EINVAL, "Linux 5.8"},
		"no BPF":      {unix.ENOSYS, "CONFIG_BPF_SYSCALL"},
		"the program": {fmt.Errorf("%w", &ebpf.VerifierError{Cause: unix.EACCES}), "verifier"},
		"other":       {unix.EIO, "gre1"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Explain(fmt.Errorf("load: %w", test.err), "gre1")
			if !strings.Contains(err.Error(), test.word) || !errors.Is(err, test.err) {
				t.Errorf("%v does not say %q", err, test.word)
			}
		})
	}
}
