package api

import (
	"net/netip"
	"time"
)

// Explanation is the account of why packets to a destination go the way they go: steps with their
// evidence, in the order in which a packet meets them, and the verdict that follows.
type Explanation struct {
	Destination netip.Addr `json:"destination"`
	// absent: the packets of this router and of the networks behind it
	Source netip.Addr `json:"source,omitzero"`
	Now    time.Time  `json:"now"`
	// the daemon took part; otherwise the account is of what the kernel and charon show
	Daemon  bool             `json:"daemon"`
	Steps   []ExplainStep    `json:"steps"`
	Verdict ExplainedVerdict `json:"verdict"`
}

// ExplainStep is one step of an account. Exactly one of its parts is there, by the kind.
type ExplainStep struct {
	Kind StepKind `json:"step"`
	// the router that the step is about: "way" (the next one by the routes), "direct" (the one of
	// the shortcut, or of the last answer) or "source" (the one that the packets come from); absent
	// in the steps that are about no router
	Of RouterRole `json:"of,omitempty"`

	Route     *ExplainedRoute     `json:"route,omitempty"`
	Tunnel    *ExplainedTunnel    `json:"tunnel,omitempty"`
	NextHop   *ExplainedNextHop   `json:"next_hop,omitempty"`
	Binding   *Binding            `json:"binding,omitempty"`
	Shortcut  *Shortcut           `json:"shortcut,omitempty"`
	Question  *ExplainedQuestion  `json:"question,omitempty"`
	SA        *ExplainedSA        `json:"sa,omitempty"`
	Admission *ExplainedAdmission `json:"admission,omitempty"`
	Policy    *ExplainedPolicy    `json:"policy,omitempty"`
}

// StepKind says what a step is about.
type StepKind string

// The kinds of steps.
const (
	StepRoute     StepKind = "route"
	StepTunnel    StepKind = "tunnel"
	StepNextHop   StepKind = "next hop"
	StepBinding   StepKind = "binding"
	StepShortcut  StepKind = "shortcut"
	StepQuestion  StepKind = "question"
	StepSA        StepKind = "sa"
	StepAdmission StepKind = "admission"
	StepPolicy    StepKind = "policy"
)

// RouterRole says which router a step is about.
type RouterRole string

// The roles of routers.
const (
	RoleWay    RouterRole = "way"
	RoleDirect RouterRole = "direct"
	RoleSource RouterRole = "source"
)

// ExplainedRoute is the route that the kernel takes now.
type ExplainedRoute struct {
	Prefix   netip.Prefix `json:"prefix,omitzero"`
	NextHop  netip.Addr   `json:"next_hop,omitzero"` // absent: the destination is on the link
	Device   string       `json:"device,omitempty"`
	Table    uint32       `json:"table,omitempty"`
	Metric   uint32       `json:"metric,omitempty"`
	MTU      uint32       `json:"mtu,omitempty"` // absent: that of the device
	Protocol uint8        `json:"protocol"`      // the kernel's protocol number
	Maker    string       `json:"maker"`         // who put the route there, in words
	Ours     bool         `json:"ours"`          // the daemon put it there
	// "unicast", "local", "unreachable", "blackhole" or "prohibit"
	Kind  string `json:"kind,omitempty"`
	Error string `json:"error,omitempty"` // why there is no route
}

// ExplainedTunnel is the tunnel that the route leads into.
type ExplainedTunnel struct {
	Interface string     `json:"interface"`
	Ours      bool       `json:"ours"` // the daemon has it
	GRE       bool       `json:"gre"`  // the device is a GRE tunnel with many peers
	Up        bool       `json:"up"`
	Protected bool       `json:"protected"`
	Left      bool       `json:"left,omitempty"`
	NBMA      netip.Addr `json:"nbma,omitzero"`        // that the tunnel sends from
	Public    netip.Addr `json:"public_nbma,omitzero"` // as an NHS sees it, behind NAT
	Shortcut  bool       `json:"shortcut"`
	Redirect  bool       `json:"redirect"`
	Error     string     `json:"error,omitempty"`
}

// ExplainedNextHop is a router that packets go to next.
type ExplainedNextHop struct {
	Protocol netip.Addr `json:"protocol"`
	NBMA     netip.Addr `json:"nbma,omitzero"`
	Mark     uint32     `json:"mark,omitempty"` // see Peer
	Identity string     `json:"identity,omitempty"`
	NHS      bool       `json:"nhs"` // it is a next hop server of this router's
	// it takes the place of the route's next hop, which is not known here
	ByNHS bool `json:"by_nhs"`
	// by what this router knows where it is: "map", "nhs", "binding", "shortcut" or "relay";
	// absent: it does not
	Known     string     `json:"known,omitempty"`
	RemoteNAT bool       `json:"remote_nat"`
	LocalNAT  bool       `json:"local_nat"`
	In        time.Time  `json:"in,omitzero"` // when data last came from it
	Out       time.Time  `json:"out,omitzero"`
	Path      *Path      `json:"path,omitempty"`
	Neighbor  netip.Addr `json:"neighbor,omitzero"` // where the kernel has it; absent: nowhere
	// the mark of the SA that the kernel sends to it by, if several routers are at that address
	NeighborMark uint32 `json:"neighbor_mark,omitempty"`
	// the kernel has an entry that leads nowhere now, and drops packets for it
	NeighborDrops bool `json:"neighbor_drops,omitempty"`
	Ours          bool `json:"ours"` // the daemon put that entry there
}

// ExplainedQuestion is the last question for a direct path to the destination, of this router or of
// the router that the packets come from.
type ExplainedQuestion struct {
	Own       bool       `json:"own"`
	Indicated time.Time  `json:"indicated,omitzero"` // when an indication last came or went
	Indicator netip.Addr `json:"indicator,omitzero"` // the router that sent it
	// the administrator had this router ask, with cygnet resolve
	ByHand bool `json:"by_hand,omitempty"`
	// why nothing followed from it, or why the other router got none
	Ignored  string     `json:"ignored,omitempty"`
	Asked    time.Time  `json:"asked,omitzero"` // when the request was last sent or passed on
	Sent     int        `json:"sent,omitempty"` // how often
	Via      netip.Addr `json:"via,omitzero"`   // overlay address of the router it went to
	At       netip.Addr `json:"at,omitzero"`    // NBMA address of that router
	Answered time.Time  `json:"answered,omitzero"`
	Answerer netip.Addr `json:"answerer,omitzero"`
	// of a refusal (RFC 2332 section 5.2.0.1), with its words
	Code     uint8        `json:"code,omitempty"`
	CodeText string       `json:"code_text,omitempty"`
	Prefix   netip.Prefix `json:"prefix,omitzero"` // what was answered
	NextHop  netip.Addr   `json:"next_hop,omitzero"`
	NBMA     netip.Addr   `json:"nbma,omitzero"`
	Outcome  string       `json:"outcome,omitempty"` // absent: none yet
	Reason   string       `json:"reason,omitempty"`
	Ended    time.Time    `json:"ended,omitzero"`
	Until    time.Time    `json:"until,omitzero"` // the daemon does not ask again before
}

// ExplainedSA is what charon and the kernel have of the IPsec with a router.
type ExplainedSA struct {
	NBMA netip.Addr `json:"nbma,omitzero"`  // absent: only its mark is known
	Mark uint32     `json:"mark,omitempty"` // see Peer
	// as the daemon sees it; absent: it does not run
	State    PeerState `json:"state,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Required bool      `json:"required"` // the tunnel requires IPsec
	Error    string    `json:"error,omitempty"`
	Charon   []SA      `json:"charon"` // as charon lists them
	// why charon was not asked, or did not answer
	CharonError string `json:"charon_error,omitempty"`
	// the ESP states that the kernel has, and why they could not be read
	Kernel      []ESPState `json:"kernel"`
	KernelError string     `json:"kernel_error,omitempty"`
}

// ESPState is one direction of a CHILD_SA in the kernel.
type ESPState struct {
	SPI     string    `json:"spi"`    // eight hexadecimal digits
	Out     bool      `json:"out"`    // from this router; otherwise to it
	InUDP   bool      `json:"in_udp"` // ESP travels in UDP, as NAT requires
	Bytes   uint64    `json:"bytes"`
	Packets uint64    `json:"packets"`
	Added   time.Time `json:"added,omitzero"`
}

// ExplainedAdmission is whether data from a router is accepted.
type ExplainedAdmission struct {
	Mode       Admission `json:"mode,omitempty"`
	Reason     string    `json:"reason,omitempty"` // why it is not enforced
	Admitted   bool      `json:"admitted"`
	NHS        bool      `json:"nhs"`      // the sources of its data are not checked
	Interest   []string  `json:"interest"` // what NHRP knows it for; see Peer
	Prohibited string    `json:"prohibited,omitempty"`
}

// ExplainedPolicy is what the peer rules and the blocks say of the identities at a router's
// address.
type ExplainedPolicy struct {
	Protocol   netip.Addr      `json:"protocol"` // the overlay address of the router
	Identities []ExplainedRule `json:"identities"`
	// what the authorizer says of it; absent: there is no authorizer, or it is not registered here
	Ruling *ExplainedRuling `json:"ruling,omitempty"`
}

// ExplainedRule is what the peer rules and the blocks say of one identity.
type ExplainedRule struct {
	Identity string    `json:"identity"`
	Rules    bool      `json:"rules"`            // the interface has peer rules
	Rule     string    `json:"rule,omitempty"`   // that decides; absent: none matches
	Source   string    `json:"source,omitempty"` // where it is written: FILE:LINE
	Address  bool      `json:"address"`          // it may have the overlay address
	Shortcut bool      `json:"shortcut"`         // it may have direct paths
	Blocked  bool      `json:"blocked"`
	Since    time.Time `json:"since,omitzero"`
	Until    time.Time `json:"until,omitzero"` // absent: until somebody ends the block
}

// ExplainedVerdict is which way the packets go and, where that is not the direct way, why.
type ExplainedVerdict struct {
	// Path is "direct", "routed", "hub", "elsewhere", "none" or "unknown".
	Path PathKind `json:"path"`
	// Reason is why the path is not direct; absent if it is.
	Reason VerdictReason `json:"reason,omitempty"`
	Detail string        `json:"detail,omitempty"` // in the daemon's words
	Until  time.Time     `json:"until,omitzero"`   // when what Reason says ends at the latest
}

// PathKind is a kind of way that packets take.
type PathKind string

// The kinds of ways.
const (
	PathDirect    PathKind = "direct"    // by a shortcut
	PathRouted    PathKind = "routed"    // the route leads to the very router of the destination
	PathHub       PathKind = "hub"       // by a hub
	PathElsewhere PathKind = "elsewhere" // not through a tunnel of the daemon's
	PathNone      PathKind = "none"      // nowhere
	PathUnknown   PathKind = "unknown"   // the daemon is gone, and the kernel does not tell
)

// VerdictReason is why a path is not direct.
type VerdictReason string

// The reasons. Those of the second group are about a pair of routers, seen from the hub.
const (
	ReasonLeft         VerdictReason = "left"
	ReasonNoRoute      VerdictReason = "no route"
	ReasonNoBinding    VerdictReason = "no binding"
	ReasonOff          VerdictReason = "shortcuts off"
	ReasonNoIndication VerdictReason = "no indication"
	ReasonIgnored      VerdictReason = "indication ignored"
	ReasonAsking       VerdictReason = "asking"
	ReasonSecuring     VerdictReason = "securing"
	ReasonProving      VerdictReason = "proving"
	ReasonUnanswered   VerdictReason = "unanswered"
	ReasonRefused      VerdictReason = "refused"
	ReasonNoVersion    VerdictReason = "no common IP version"
	ReasonError        VerdictReason = "error"
	ReasonInadmissible VerdictReason = "answer not usable"
	ReasonShared       VerdictReason = "shared address"
	ReasonProhibited   VerdictReason = "rule"
	ReasonBlocked      VerdictReason = "blocked"
	ReasonNoSA         VerdictReason = "no SA"
	ReasonNAT          VerdictReason = "both behind NAT"
	ReasonCoolDown     VerdictReason = "cool-down"
	ReasonEnded        VerdictReason = "ended"

	ReasonRedirectOff VerdictReason = "redirect off"
	ReasonSameNAT     VerdictReason = "one NAT address"
	ReasonSameRouter  VerdictReason = "same router"
	ReasonNoPacket    VerdictReason = "no packet"
	ReasonIndicated   VerdictReason = "indicated"
	ReasonPassedOn    VerdictReason = "passed on"
)

// VerdictReasons lists all reasons.
var VerdictReasons = []VerdictReason{
	ReasonLeft, ReasonNoRoute, ReasonNoBinding, ReasonOff, ReasonNoIndication, ReasonIgnored,
	ReasonAsking, ReasonSecuring, ReasonProving, ReasonUnanswered, ReasonRefused, ReasonNoVersion,
	ReasonError, ReasonInadmissible, ReasonShared, ReasonProhibited, ReasonBlocked, ReasonNoSA,
	ReasonNAT, ReasonCoolDown, ReasonEnded, ReasonRedirectOff, ReasonSameNAT, ReasonSameRouter,
	ReasonNoPacket, ReasonIndicated, ReasonPassedOn,
}
