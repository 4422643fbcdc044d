package tc

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Explain adds to an error what the user can do about it.
func Explain(err error, device string) error {
	err = fmt.Errorf("sample %s with eBPF: %w", device, err)
	switch {
	case errors.As(err, new(*ebpf.VerifierError)):
		return fmt.Errorf("%w (this kernel's verifier refuses the program: please report it with the kernel's version)", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (the daemon needs CAP_BPF and CAP_NET_ADMIN, before Linux 5.11 also LimitMEMLOCK=infinity; kernel lockdown may forbid it)", err)
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL),
		errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w (it needs Linux 5.8 with CONFIG_BPF_SYSCALL, CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF)", err)
	}
	return err
}
