// Package rooms holds the packages of this module to the import rules of ARCHITECTURE.md, and its
// types to a number of methods.
package rooms

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// pkg is the part of the output of `go list -json` that this test uses.
type pkg struct {
	ImportPath string
	Imports    []string
}

// rule lists what a room may import besides the standard library. A trailing /... stands for
// everything below.
type rule struct {
	room  string
	mayBe []string
}

var rules = []rule{
	{"cygnet/cmd/cygnetd", []string{
		"cygnet/nhrpd", "cygnet/nhrpd/api", "cygnet/nhrpd/config", "cygnet/nhrpd/platform",
		"cygnet/nhrpd/stopped",
	}},
	{"cygnet/cmd/cygnet", []string{
		"cygnet/nhrpd/account", "cygnet/nhrpd/api", "cygnet/nhrpd/config", "cygnet/nhrpd/duration",
		"cygnet/nhrpd/explain", "cygnet/nhrpd/health", "cygnet/nhrpd/hooks", "cygnet/nhrpd/nearest",
		"cygnet/nhrpd/netcheck", "cygnet/nhrpd/netcheck/collect", "cygnet/nhrpd/packet",
		"cygnet/nhrpd/policy", "cygnet/nhrpd/preflight", "cygnet/nhrpd/snmp", "cygnet/nhrpd/web",
		"cygnet/nhrpd/wording",
	}},
	{"cygnet/nhrpd/account", []string{"cygnet/nhrpd/api", "cygnet/nhrpd/wording"}},
	{"cygnet/nhrpd/wording", nil},
	{"cygnet/nhrpd/snmp", []string{"cygnet/nhrpd/api"}},
	{"cygnet/nhrpd/netcheck", nil},
	{"cygnet/nhrpd/netcheck/collect", []string{
		"cygnet/kernel/rtnl", "cygnet/nhrpd/api", "cygnet/nhrpd/config", "cygnet/nhrpd/explain",
		"cygnet/nhrpd/netcheck", "cygnet/nhrpd/uplink/ikeprobe", "golang.org/x/sys/...",
	}},
	{"cygnet/nhrpd/sizesearch", nil},
	{"cygnet/nhrpd/hooks", []string{"cygnet/nhrpd/api"}},
	{"cygnet/nhrpd/web", []string{
		"cygnet/nhrpd/account", "cygnet/nhrpd/api", "golang.org/x/net/netutil",
	}},
	{"cygnet/nhrpd", []string{
		"cygnet/kernel/datapath", "cygnet/kernel/multicast", "cygnet/kernel/nhrpsocket",
		"cygnet/kernel/peerlink", "cygnet/kernel/rtnl", "cygnet/kernel/sysctl",
		"cygnet/kernel/tables", "cygnet/kernel/tunnel", "cygnet/kernel/watch", "cygnet/kernel/xfrm",
		"cygnet/nhrpd/api", "cygnet/nhrpd/authorizer", "cygnet/nhrpd/cleargre",
		"cygnet/nhrpd/config", "cygnet/nhrpd/config/difference", "cygnet/nhrpd/engine",
		"cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/espstate", "cygnet/nhrpd/eventfeed",
		"cygnet/nhrpd/explain", "cygnet/nhrpd/filewatch", "cygnet/nhrpd/health",
		"cygnet/nhrpd/histogram", "cygnet/nhrpd/hostcheck", "cygnet/nhrpd/linklocal",
		"cygnet/nhrpd/logging", "cygnet/nhrpd/mismatch", "cygnet/nhrpd/notice", "cygnet/nhrpd/packet",
		"cygnet/nhrpd/peername", "cygnet/nhrpd/peeruse", "cygnet/nhrpd/platform",
		"cygnet/nhrpd/policy", "cygnet/nhrpd/policymark", "cygnet/nhrpd/preflight",
		"cygnet/nhrpd/pretouch", "cygnet/nhrpd/problem", "cygnet/nhrpd/resolve",
		"cygnet/nhrpd/sagroup", "cygnet/nhrpd/sizesearch", "cygnet/nhrpd/statedir",
		"cygnet/nhrpd/status", "cygnet/nhrpd/systemd", "cygnet/nhrpd/translate",
		"cygnet/nhrpd/uplink", "cygnet/nhrpd/wait", "cygnet/vici", "cygnet/vici/profile",
		"golang.org/x/sync/errgroup",
	}},
	{"cygnet/nhrpd/api", nil},
	{"cygnet/nhrpd/authorizer", []string{
		"github.com/cenkalti/backoff/v5", "golang.org/x/sys/...",
	}},
	{"cygnet/nhrpd/cleargre", []string{
		"cygnet/kernel/datapath", "cygnet/kernel/fence", "cygnet/kernel/tunnel",
		"cygnet/kernel/xfrm", "cygnet/nhrpd/api", "cygnet/nhrpd/wait",
	}},
	{"cygnet/nhrpd/config", []string{
		"cygnet/nhrpd/config/document", "cygnet/nhrpd/config/hostfile",
		"cygnet/nhrpd/config/overhead", "cygnet/nhrpd/config/secret", "cygnet/nhrpd/duration",
		"cygnet/nhrpd/policy", "cygnet/vici/swanctl",
	}},
	{"cygnet/nhrpd/config/difference", []string{
		"cygnet/nhrpd/config", "cygnet/nhrpd/config/secret", "cygnet/nhrpd/policy",
	}},
	{"cygnet/nhrpd/config/document", []string{
		"cygnet/nhrpd/nearest", "github.com/BurntSushi/toml",
	}},
	{"cygnet/nhrpd/config/hostfile", nil},
	{"cygnet/nhrpd/config/overhead", []string{"cygnet/vici/swanctl"}},
	{"cygnet/nhrpd/config/secret", nil},
	{"cygnet/nhrpd/duration", nil},
	{"cygnet/nhrpd/engine", []string{
		"cygnet/nhrpd/engine/admission", "cygnet/nhrpd/engine/authorization",
		"cygnet/nhrpd/engine/client", "cygnet/nhrpd/engine/event",
		"cygnet/nhrpd/engine/inquiry", "cygnet/nhrpd/engine/mismatch",
		"cygnet/nhrpd/engine/multicast", "cygnet/nhrpd/engine/neighbors", "cygnet/nhrpd/engine/objection",
		"cygnet/nhrpd/engine/ordered", "cygnet/nhrpd/engine/output",
		"cygnet/nhrpd/engine/overlay", "cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/engine/peers",
		"cygnet/nhrpd/engine/prefixes", "cygnet/nhrpd/engine/proof",
		"cygnet/nhrpd/engine/purge", "cygnet/nhrpd/engine/report",
		"cygnet/nhrpd/engine/resolution", "cygnet/nhrpd/engine/rib", "cygnet/nhrpd/engine/server",
		"cygnet/nhrpd/engine/timers", "cygnet/nhrpd/packet", "cygnet/nhrpd/policy",
	}},
	{"cygnet/nhrpd/engine/admission", []string{
		"cygnet/nhrpd/engine/ordered", "cygnet/nhrpd/engine/output", "cygnet/nhrpd/engine/overlay",
		"cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/engine/peers", "cygnet/nhrpd/engine/pool",
		"cygnet/nhrpd/engine/timers",
	}},
	{"cygnet/nhrpd/engine/authorization", []string{
		"cygnet/nhrpd/engine/objection", "cygnet/nhrpd/engine/timers", "cygnet/nhrpd/policy",
	}},
	{"cygnet/nhrpd/engine/client", []string{
		"cygnet/nhrpd/engine/admission", "cygnet/nhrpd/engine/neighbors",
		"cygnet/nhrpd/engine/objection", "cygnet/nhrpd/engine/output",
		"cygnet/nhrpd/engine/overlay", "cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/engine/peers",
		"cygnet/nhrpd/engine/prefixes", "cygnet/nhrpd/engine/purge", "cygnet/nhrpd/engine/report",
		"cygnet/nhrpd/engine/selection", "cygnet/nhrpd/engine/timers", "cygnet/nhrpd/packet",
	}},
	{"cygnet/nhrpd/engine/event", []string{
		"cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/engine/rib",
	}},
	{"cygnet/nhrpd/engine/inquiry", []string{
		"cygnet/nhrpd/engine/event", "cygnet/nhrpd/engine/ordered", "cygnet/nhrpd/engine/output",
		"cygnet/nhrpd/engine/overlay", "cygnet/nhrpd/engine/peerid",
		"cygnet/nhrpd/engine/ratelimit", "cygnet/nhrpd/engine/report",
		"cygnet/nhrpd/engine/timers", "cygnet/nhrpd/policy",
	}},
	{"cygnet/nhrpd/engine/mismatch", []string{
		"cygnet/nhrpd/engine/overlay", "cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/engine/report",
	}},
	{"cygnet/nhrpd/engine/multicast", []string{
		"cygnet/nhrpd/engine/neighbors", "cygnet/nhrpd/engine/output",
		"cygnet/nhrpd/engine/overlay", "cygnet/nhrpd/engine/peerid",
	}},
	{"cygnet/nhrpd/engine/neighbors", []string{
		"cygnet/nhrpd/engine/event", "cygnet/nhrpd/engine/ordered", "cygnet/nhrpd/engine/output",
		"cygnet/nhrpd/engine/overlay", "cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/engine/peers",
		"cygnet/nhrpd/engine/pool", "cygnet/nhrpd/linklocal",
	}},
	{"cygnet/nhrpd/engine/objection", []string{"cygnet/nhrpd/packet"}},
	{"cygnet/nhrpd/engine/ordered", nil},
	{"cygnet/nhrpd/engine/output", []string{"cygnet/nhrpd/engine/peerid"}},
	{"cygnet/nhrpd/engine/overlay", []string{
		"cygnet/nhrpd/engine/authorization", "cygnet/nhrpd/engine/output",
		"cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/engine/ratelimit",
		"cygnet/nhrpd/engine/report", "cygnet/nhrpd/engine/rib", "cygnet/nhrpd/engine/timers",
		"cygnet/nhrpd/linklocal", "cygnet/nhrpd/packet", "cygnet/nhrpd/policy",
	}},
	{"cygnet/nhrpd/engine/peerid", nil},
	{"cygnet/nhrpd/engine/peers", []string{
		"cygnet/nhrpd/engine/authorization", "cygnet/nhrpd/engine/event",
		"cygnet/nhrpd/engine/objection", "cygnet/nhrpd/engine/ordered",
		"cygnet/nhrpd/engine/output", "cygnet/nhrpd/engine/overlay", "cygnet/nhrpd/engine/peerid",
		"cygnet/nhrpd/engine/pool", "cygnet/nhrpd/engine/report", "cygnet/nhrpd/engine/rib",
		"cygnet/nhrpd/engine/timers",
	}},
	{"cygnet/nhrpd/engine/pool", nil},
	{"cygnet/nhrpd/engine/prefixes", []string{
		"cygnet/nhrpd/engine/event", "cygnet/nhrpd/engine/objection",
		"cygnet/nhrpd/engine/overlay", "cygnet/nhrpd/engine/peerid",
	}},
	{"cygnet/nhrpd/engine/proof", []string{
		"cygnet/nhrpd/engine/ordered", "cygnet/nhrpd/engine/overlay",
		"cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/engine/peers", "cygnet/nhrpd/engine/report",
		"cygnet/nhrpd/engine/timers", "cygnet/nhrpd/packet",
	}},
	{"cygnet/nhrpd/engine/purge", []string{
		"cygnet/nhrpd/engine/neighbors", "cygnet/nhrpd/engine/ordered",
		"cygnet/nhrpd/engine/overlay", "cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/engine/peers",
		"cygnet/nhrpd/engine/timers", "cygnet/nhrpd/packet",
	}},
	{"cygnet/nhrpd/engine/ratelimit", nil},
	{"cygnet/nhrpd/engine/report", []string{
		"cygnet/nhrpd/engine/event", "cygnet/nhrpd/engine/peerid",
	}},
	{"cygnet/nhrpd/engine/resolution", []string{
		"cygnet/nhrpd/engine/admission", "cygnet/nhrpd/engine/client", "cygnet/nhrpd/engine/event",
		"cygnet/nhrpd/engine/neighbors", "cygnet/nhrpd/engine/objection",
		"cygnet/nhrpd/engine/ordered", "cygnet/nhrpd/engine/output", "cygnet/nhrpd/engine/overlay",
		"cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/engine/peers", "cygnet/nhrpd/engine/prefixes",
		"cygnet/nhrpd/engine/proof", "cygnet/nhrpd/engine/purge", "cygnet/nhrpd/engine/ratelimit", "cygnet/nhrpd/engine/report",
		"cygnet/nhrpd/engine/server", "cygnet/nhrpd/engine/timers", "cygnet/nhrpd/packet",
	}},
	{"cygnet/nhrpd/engine/rib", nil},
	{"cygnet/nhrpd/engine/selection", nil},
	{"cygnet/nhrpd/engine/server", []string{
		"cygnet/nhrpd/engine/admission", "cygnet/nhrpd/engine/authorization",
		"cygnet/nhrpd/engine/client", "cygnet/nhrpd/engine/event", "cygnet/nhrpd/engine/inquiry",
		"cygnet/nhrpd/engine/mismatch", "cygnet/nhrpd/engine/neighbors",
		"cygnet/nhrpd/engine/objection",
		"cygnet/nhrpd/engine/ordered", "cygnet/nhrpd/engine/output", "cygnet/nhrpd/engine/overlay",
		"cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/engine/peers", "cygnet/nhrpd/engine/pool",
		"cygnet/nhrpd/engine/prefixes", "cygnet/nhrpd/engine/purge",
		"cygnet/nhrpd/engine/ratelimit", "cygnet/nhrpd/engine/report", "cygnet/nhrpd/engine/rib",
		"cygnet/nhrpd/engine/timers", "cygnet/nhrpd/packet", "cygnet/nhrpd/policy",
	}},
	{"cygnet/nhrpd/engine/timers", nil},
	{"cygnet/nhrpd/espstate", []string{"cygnet/kernel/xfrm", "cygnet/nhrpd/wait", "cygnet/vici"}},
	{"cygnet/nhrpd/eventfeed", []string{"cygnet/nhrpd/api", "cygnet/nhrpd/journal"}},
	{"cygnet/nhrpd/health", []string{"cygnet/nhrpd/api", "cygnet/nhrpd/wording"}},
	{"cygnet/nhrpd/explain", []string{
		"cygnet/kernel/peerlink", "cygnet/kernel/rtnl", "cygnet/kernel/tunnel",
		"cygnet/kernel/xfrm", "cygnet/nhrpd/api", "cygnet/nhrpd/status", "cygnet/vici",
		"cygnet/vici/profile", "cygnet/vici/salist", "golang.org/x/sys/...",
	}},
	{"cygnet/nhrpd/filewatch", []string{
		"cygnet/nhrpd/api", "cygnet/nhrpd/config", "cygnet/nhrpd/config/difference",
		"cygnet/nhrpd/problem", "cygnet/nhrpd/wait",
	}},
	{"cygnet/nhrpd/hostcheck", []string{"cygnet/nhrpd/preflight"}},
	{"cygnet/nhrpd/linklocal", nil},
	{"cygnet/nhrpd/journal", []string{"cygnet/nhrpd/api"}},
	{"cygnet/nhrpd/logging", []string{
		"cygnet/nhrpd/config", "github.com/coreos/go-systemd/v22/journal",
	}},
	{"cygnet/nhrpd/mismatch", []string{
		"cygnet/kernel/nhrpsocket", "cygnet/kernel/xfrm", "cygnet/nhrpd/api", "cygnet/nhrpd/engine",
		"cygnet/nhrpd/problem", "cygnet/nhrpd/wait", "cygnet/nhrpd/wording", "cygnet/vici",
	}},
	{"cygnet/nhrpd/histogram", []string{"cygnet/nhrpd/api"}},
	{"cygnet/nhrpd/nearest", nil},
	{"cygnet/nhrpd/notice", []string{
		"cygnet/nhrpd/api", "cygnet/nhrpd/engine", "cygnet/nhrpd/logging",
	}},
	{"cygnet/nhrpd/packet", nil},
	{"cygnet/nhrpd/peername", []string{
		"cygnet/kernel/peerlink", "cygnet/kernel/xfrm", "cygnet/nhrpd/engine/peerid",
	}},
	{"cygnet/nhrpd/platform", []string{
		"cygnet/kernel/clock", "cygnet/kernel/datapath", "cygnet/kernel/fence",
		"cygnet/kernel/multicast", "cygnet/kernel/nhrpsocket", "cygnet/kernel/peerlink",
		"cygnet/kernel/rtnl", "cygnet/kernel/sysctl", "cygnet/kernel/tables",
		"cygnet/kernel/tunnel", "cygnet/kernel/watch", "cygnet/kernel/xfrm", "cygnet/nhrpd/api",
		"cygnet/nhrpd/cleargre", "cygnet/nhrpd/config", "cygnet/nhrpd/espstate",
		"cygnet/nhrpd/explain", "cygnet/nhrpd/preflight", "cygnet/nhrpd/resolve",
		"cygnet/nhrpd/uplink", "cygnet/nhrpd/uplink/ikeprobe", "cygnet/vici",
		"cygnet/vici/profile",
	}},
	{"cygnet/nhrpd/peeruse", []string{
		"cygnet/nhrpd/engine", "cygnet/nhrpd/engine/peerid", "cygnet/nhrpd/translate",
		"cygnet/vici",
	}},
	{"cygnet/nhrpd/policy", nil},
	{"cygnet/nhrpd/policymark", []string{"cygnet/kernel/xfrm"}},
	{"cygnet/nhrpd/preflight", []string{
		"cygnet/kernel", "cygnet/kernel/rtnl", "cygnet/kernel/sysctl", "cygnet/kernel/tunnel",
		"cygnet/nhrpd/config", "cygnet/nhrpd/linklocal", "cygnet/vici/swanctl",
	}},
	{"cygnet/nhrpd/pretouch", nil},
	{"cygnet/nhrpd/problem", []string{"cygnet/nhrpd/api"}},
	{"cygnet/nhrpd/uplink", nil},
	{"cygnet/nhrpd/uplink/ikeprobe", []string{"golang.org/x/sys/..."}},
	{"cygnet/nhrpd/resolve", []string{"cygnet/nhrpd/wait"}},
	{"cygnet/nhrpd/sagroup", []string{
		"cygnet/nhrpd/config", "cygnet/vici", "cygnet/vici/profile",
	}},
	{"cygnet/nhrpd/statedir", []string{"cygnet/nhrpd/engine", "cygnet/nhrpd/statefile"}},
	{"cygnet/nhrpd/statefile", []string{"cygnet/nhrpd/engine", "cygnet/nhrpd/engine/peerid"}},
	{"cygnet/nhrpd/status", []string{
		"cygnet/kernel/rtnl", "cygnet/kernel/tables", "cygnet/nhrpd/api",
		"cygnet/nhrpd/config", "cygnet/nhrpd/engine", "cygnet/nhrpd/engine/peerid",
		"cygnet/nhrpd/preflight", "cygnet/vici",
	}},
	{"cygnet/nhrpd/stopped", []string{
		"cygnet/kernel/clock", "cygnet/kernel/datapath", "cygnet/kernel/fence",
		"cygnet/kernel/multicast", "cygnet/kernel/peerlink", "cygnet/kernel/rtnl",
		"cygnet/kernel/tables", "cygnet/kernel/tunnel", "cygnet/nhrpd/config",
		"cygnet/nhrpd/logging", "cygnet/nhrpd/statedir", "cygnet/nhrpd/translate", "cygnet/vici",
	}},
	{"cygnet/nhrpd/systemd", []string{
		"cygnet/nhrpd/api", "cygnet/nhrpd/logging", "github.com/coreos/go-systemd/v22/daemon",
	}},
	{"cygnet/nhrpd/translate", []string{
		"cygnet/kernel/rtnl", "cygnet/kernel/tunnel", "cygnet/kernel/watch", "cygnet/kernel/xfrm",
		"cygnet/nhrpd/config", "cygnet/nhrpd/engine", "cygnet/nhrpd/engine/peerid",
		"cygnet/nhrpd/linklocal", "cygnet/vici", "cygnet/vici/profile",
	}},
	{"cygnet/nhrpd/wait", []string{"github.com/cenkalti/backoff/v5"}},
	{"cygnet/vici", []string{
		"cygnet/vici/failure", "cygnet/vici/ike", "cygnet/vici/message", "cygnet/vici/peerstate",
		"cygnet/vici/profile", "cygnet/vici/rival", "cygnet/vici/salist", "cygnet/vici/session",
		"github.com/cenkalti/backoff/v5", "github.com/strongswan/govici/...",
	}},
	{"cygnet/vici/failure", []string{"cygnet/vici/ike", "cygnet/vici/message"}},
	{"cygnet/vici/rival", []string{"cygnet/vici/ike"}},
	{"cygnet/vici/peerstate", nil},
	{"cygnet/vici/ike", []string{"cygnet/vici/message", "github.com/strongswan/govici/..."}},
	{"cygnet/vici/profile", []string{
		"cygnet/vici/ike", "cygnet/vici/message", "cygnet/vici/swanctl",
		"github.com/strongswan/govici/...",
	}},
	{"cygnet/vici/salist", []string{
		"cygnet/vici/ike", "cygnet/vici/message", "cygnet/vici/profile", "cygnet/vici/session",
		"github.com/strongswan/govici/...",
	}},
	{"cygnet/vici/session", []string{
		"cygnet/vici/message", "github.com/cenkalti/backoff/v5",
		"github.com/strongswan/govici/...",
	}},
	{"cygnet/vici/message", []string{"github.com/strongswan/govici/..."}},
	{"cygnet/vici/swanctl", nil},
	{"cygnet/kernel", []string{
		"cygnet/kernel/datapath", "cygnet/kernel/rtnl", "cygnet/kernel/xfrm",
		"github.com/vishvananda/netlink", "golang.org/x/sys/unix",
	}},
	{"cygnet/kernel/clock", []string{"golang.org/x/sys/unix"}},
	{"cygnet/kernel/datapath", []string{
		"cygnet/kernel/clock", "cygnet/kernel/rtnl", "cygnet/kernel/schedule",
		"cygnet/kernel/sysctl", "cygnet/kernel/tc", "cygnet/kernel/xfrm",
		"github.com/cilium/ebpf/...", "github.com/mdlayher/netlink",
		"github.com/vishvananda/netlink", "golang.org/x/sys/unix",
	}},
	{"cygnet/kernel/fence", []string{
		"cygnet/kernel/clock", "cygnet/kernel/rtnl", "cygnet/kernel/tc", "cygnet/kernel/xfrm",
		"github.com/cilium/ebpf/...", "github.com/mdlayher/netlink", "golang.org/x/sys/unix",
	}},
	{"cygnet/kernel/kerneltest", []string{
		"cygnet/kernel/rtnl", "github.com/cilium/ebpf/...", "github.com/mdlayher/netlink",
		"github.com/vishvananda/netlink", "github.com/vishvananda/netns", "golang.org/x/net/bpf",
		"golang.org/x/sys/unix",
	}},
	{"cygnet/kernel/multicast", []string{
		"cygnet/kernel/datapath", "cygnet/kernel/rtnl", "cygnet/kernel/schedule",
		"cygnet/kernel/tc", "github.com/cilium/ebpf/...", "github.com/mdlayher/netlink",
		"golang.org/x/net/bpf", "golang.org/x/sys/unix",
	}},
	{"cygnet/kernel/nhrpsocket", []string{
		"cygnet/kernel/rtnl", "cygnet/kernel/xfrm", "golang.org/x/net/bpf",
		"golang.org/x/sys/unix",
	}},
	{"cygnet/kernel/peerlink", []string{
		"cygnet/kernel/datapath", "cygnet/kernel/rtnl", "cygnet/kernel/schedule",
		"cygnet/kernel/sysctl", "cygnet/kernel/tc", "cygnet/kernel/xfrm", "golang.org/x/sys/unix",
	}},
	{"cygnet/kernel/rtnl", []string{
		"cygnet/kernel/schedule", "github.com/mdlayher/netlink",
		"golang.org/x/net/bpf", "golang.org/x/sys/unix",
	}},
	{"cygnet/kernel/schedule", []string{"github.com/cenkalti/backoff/v5"}},
	{"cygnet/kernel/sysctl", []string{"golang.org/x/sys/unix"}},
	{"cygnet/kernel/tables", []string{
		"cygnet/kernel/rtnl", "cygnet/kernel/schedule", "github.com/mdlayher/netlink",
		"golang.org/x/net/bpf", "golang.org/x/sys/unix",
	}},
	{"cygnet/kernel/tc", []string{
		"cygnet/kernel/rtnl", "cygnet/kernel/schedule", "github.com/cilium/ebpf",
		"github.com/mdlayher/netlink", "golang.org/x/sys/unix",
	}},
	{"cygnet/kernel/tunnel", []string{
		"cygnet/kernel/rtnl", "cygnet/kernel/schedule", "cygnet/kernel/sysctl",
		"cygnet/kernel/xfrm", "github.com/mdlayher/netlink", "golang.org/x/sys/unix",
	}},
	{"cygnet/kernel/watch", []string{
		"cygnet/kernel/rtnl", "cygnet/kernel/schedule", "github.com/mdlayher/netlink",
		"golang.org/x/net/bpf", "golang.org/x/sys/unix",
	}},
	{"cygnet/kernel/xfrm", []string{
		"cygnet/kernel/rtnl", "cygnet/kernel/sysctl", "github.com/mdlayher/netlink",
		"github.com/vishvananda/netlink", "golang.org/x/sys/unix",
	}},
}

// pure are the packages that decide and encode, and touch nothing of the system.
var pure = []string{
	"cygnet/nhrpd/engine/...", "cygnet/nhrpd/linklocal", "cygnet/nhrpd/packet", "cygnet/nhrpd/policy",
	"cygnet/nhrpd/account", "cygnet/nhrpd/wording",
}

// impure are the parts of the standard library that pure packages must not import.
var impure = []string{
	"os", "os/...", "net", "net/http", "log", "log/...", "sync", "sync/...", "syscall", "context",
	"runtime", "unsafe",
}

// formats are the parts of the standard library that write and read formats of files. The engine
// must not import them: what it keeps over a restart is plain Go types.
var formats = []string{"encoding/json", "encoding/gob", "encoding/xml"}

func TestImportRules(t *testing.T) {
	ruled := make(map[string]bool)
	for _, p := range packages(t) {
		for _, r := range rules {
			if p.ImportPath != r.room {
				continue
			}
			ruled[r.room] = true
			for _, imported := range p.Imports {
				if outside(imported) && !within(imported, r.mayBe) {
					t.Errorf("%s imports %s, which its room does not allow", p.ImportPath, imported)
				}
			}
		}
	}
	for _, r := range rules {
		if !ruled[r.room] {
			t.Errorf("there is a rule for %s but no such package", r.room)
		}
	}
}

func TestEngineKnowsNoFileFormat(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if within(p.ImportPath, []string{"cygnet/nhrpd/engine/..."}) &&
				within(imported, formats) {
				t.Errorf("%s imports %s: the format of a file belongs to another package",
					p.ImportPath, imported)
			}
		}
	}
}

func TestEngineAndCodecArePure(t *testing.T) {
	for _, p := range packages(t) {
		if !within(p.ImportPath, pure) {
			continue
		}
		for _, imported := range p.Imports {
			if within(imported, impure) {
				t.Errorf("%s imports %s: it must stay free of I/O, clocks, goroutines, locks and logs", p.ImportPath, imported)
			}
		}
	}
}

// TestEveryPackageHasARoom fails for a package that the table does not name.
func TestEveryPackageHasARoom(t *testing.T) {
	for _, p := range packages(t) {
		if within(p.ImportPath, []string{"cygnet/test/...", "cygnet/packaging/...", "cygnet/contrib/..."}) {
			continue
		}
		known := false
		for _, r := range rules {
			known = known || p.ImportPath == r.room
		}
		if !known {
			t.Errorf("%s is in no room of ARCHITECTURE.md", p.ImportPath)
		}
	}
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "cygnet/...").Output()
	if err != nil {
		t.Fatalf("list the module's packages: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("read the list of packages: %v", err)
		}
		all = append(all, p)
	}
}

// outside reports whether an import is outside of the standard library, whose paths have no dot in
// their first element. The packages of this module count as outside.
func outside(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return first == "cygnet" || strings.Contains(first, ".")
}

func within(path string, patterns []string) bool {
	for _, pattern := range patterns {
		base, tree := strings.CutSuffix(pattern, "/...")
		if path == base || tree && strings.HasPrefix(path, base+"/") {
			return true
		}
	}
	return false
}

// TestEveryPackageIsDescribed fails for a package that neither ARCHITECTURE.md nor doc/packages.md
// describes.
func TestEveryPackageIsDescribed(t *testing.T) {
	var pages []byte
	for _, name := range []string{"../../ARCHITECTURE.md", "../../doc/packages.md"} {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, page...)
	}
	for _, r := range rules {
		name := strings.TrimPrefix(r.room, "cygnet/")
		if !bytes.Contains(pages, []byte("| `"+name+"`")) {
			t.Errorf("no table of ARCHITECTURE.md or doc/packages.md has %s", name)
		}
	}
}
