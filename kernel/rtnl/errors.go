package rtnl

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The errors that only the user can remedy. Their text says what to do. They come wrapped in text
// that says what was being done, and to what.
var (
	ErrNameTaken    = errors.New("the name is taken by another kind of interface: choose another name in the configuration, or remove that interface")
	ErrTunnelTaken  = errors.New("another GRE tunnel has the same local address and key: give this one another key, or remove the other")
	ErrNoPermission = errors.New("no permission: CAP_NET_ADMIN is needed; run as root or with the systemd unit of the package")
	ErrNoGRE        = errors.New("the kernel has no GRE tunnels: load the module (modprobe ip_gre), or boot a kernel that has it")
	ErrNoGREIPv6    = errors.New("the kernel has no GRE over IPv6: load the module (modprobe ip6_gre), or boot without ipv6.disable=1")
	ErrNoXFRM       = errors.New("the kernel has no IPsec policies: load the module (modprobe xfrm_user), or boot a kernel that has it")
	ErrNoIPv6       = errors.New("this kernel has IPv6 switched off: boot it without ipv6.disable=1, or take the IPv6 address out of address")
	ErrIPv6Disabled = errors.New("IPv6 is switched off on the tunnel: set the sysctl disable_ipv6 of the tunnel (below net.ipv6.conf) to 0, or take the IPv6 address out of address")
	ErrNoAddress    = errors.New("no NBMA address to send from")
)

// Permanent reports whether trying again is useless until the user has changed something.
func Permanent(err error) bool {
	for _, sentinel := range []error{
		ErrNameTaken, ErrTunnelTaken, ErrNoPermission, ErrNoGRE, ErrNoXFRM,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// Explain wraps err in text that says what was being done, and in the sentinel that fits its errno,
// if there is one. It returns nil if err is nil.
func Explain(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	doing := fmt.Sprintf(format, args...)
	// Of the netlink families that the daemon uses, the kernel may lack only the one for IPsec.
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("%s: %w (%w)", doing, ErrNoXFRM, err)
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s: %w (%w)", doing, ErrNoPermission, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// ExplainPeerGRE is Explain for the creation of a GRE tunnel over IPv6.
func ExplainPeerGRE(err error, format string, args ...any) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%s: %w (%w)", fmt.Sprintf(format, args...), ErrNoGREIPv6, err)
	}
	return Explain(err, format, args...)
}
