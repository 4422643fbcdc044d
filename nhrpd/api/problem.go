package api

import "time"

// Problem is one fault or limit of the daemon or of one of its interfaces. Code, Interface and
// Subject together identify it. The texts may change from one status to the next.
type Problem struct {
	Code     ProblemCode `json:"code"`
	Severity Severity    `json:"severity"`
	// absent: the problem concerns the whole daemon
	Interface string `json:"interface,omitempty"`
	Subject   string `json:"subject,omitempty"` // the peer, server, route, setting or file
	Text      string `json:"text"`              // what happened and what it means
	// what to do; absent: the text says that already
	Remedy string    `json:"remedy,omitempty"`
	Since  time.Time `json:"since,omitzero"` // absent: unknown
}

// Severity is how bad a problem is.
type Severity string

// The severities. What works as configured is not a problem.
const (
	SeverityError Severity = "error" // something that is configured does not work
	// something works only with a limit, or may recover by itself
	SeverityWarning Severity = "warning"
)

// ProblemCode names a kind of problem, for scripts and alerts. cygnet(1) lists all codes.
type ProblemCode string

// The kinds of problems.
const (
	ProblemStrongSwan          ProblemCode = "strongswan-unreachable"
	ProblemInterface           ProblemCode = "interface-failed"
	ProblemUnprotected         ProblemCode = "interface-unprotected"
	ProblemLeft                ProblemCode = "interface-left"
	ProblemDraining            ProblemCode = "interface-draining"
	ProblemAuthorizer          ProblemCode = "authorizer-silent"
	ProblemTunnelMissing       ProblemCode = "tunnel-missing"
	ProblemTunnelDown          ProblemCode = "tunnel-down"
	ProblemUnderlayAddress     ProblemCode = "underlay-without-address"
	ProblemUplinkReserve       ProblemCode = "uplink-in-reserve"
	ProblemNHSRefused          ProblemCode = "nhs-refused"
	ProblemNHSUnresolved       ProblemCode = "nhs-unresolved"
	ProblemNHSUnanswered       ProblemCode = "nhs-unanswered"
	ProblemNHSUnsecured        ProblemCode = "nhs-unsecured"
	ProblemPeerUnsecured       ProblemCode = "peer-unsecured"
	ProblemPeerProhibited      ProblemCode = "peer-prohibited"
	ProblemPeerSharedAddress   ProblemCode = "peer-shared-address"
	ProblemPathFailed          ProblemCode = "direct-path-failed"
	ProblemIdentityTwice       ProblemCode = "identity-twice"
	ProblemKernelRefuses       ProblemCode = "kernel-refuses"
	ProblemRouteMissing        ProblemCode = "route-missing"
	ProblemAdmissionUnenforced ProblemCode = "admission-unenforced"
	ProblemAdmissionBypassed   ProblemCode = "admission-bypassed"
	ProblemDataPath            ProblemCode = "data-path-failed"
	ProblemGREInClear          ProblemCode = "gre-in-clear"
	ProblemClearCause          ProblemCode = "gre-clear-cause"
	ProblemClearUnfiltered     ProblemCode = "gre-unfiltered"
	ProblemShortcuts           ProblemCode = "shortcuts-unnoticed"
	ProblemGRENotReceived      ProblemCode = "gre-not-received"
	ProblemPeerSilent          ProblemCode = "peer-silent"
	ProblemAnswersUnheard      ProblemCode = "answers-unheard"
	ProblemPassword            ProblemCode = "password-mismatch"
	ProblemRegistrationRefused ProblemCode = "registration-refused"
	ProblemAddressTwice        ProblemCode = "address-twice"
	ProblemClearGRE            ProblemCode = "clear-gre"
	ProblemUnexpectedIKE       ProblemCode = "unexpected-ike"
	ProblemPeerAuthentication  ProblemCode = "peer-authentication"
	ProblemNHSUnusable         ProblemCode = "nhs-unusable"
	ProblemReload              ProblemCode = "reload-failed"
	ProblemFileDiffers         ProblemCode = "file-differs"
	ProblemNHSIsSelf           ProblemCode = "nhs-is-self"
	ProblemProfileRefused      ProblemCode = "profile-refused"
	ProblemConfiguration       ProblemCode = "configuration-doubtful"
	ProblemState               ProblemCode = "state-not-saved"
	ProblemAPIGroup            ProblemCode = "api-group"
	ProblemMetrics             ProblemCode = "metrics"
	ProblemNetwork             ProblemCode = "network"
	ProblemPeersTaken          ProblemCode = "peers-taken"
	ProblemRouting             ProblemCode = "routing"
	ProblemUnderlayRouting     ProblemCode = "underlay-routing"
	ProblemCertificate         ProblemCode = "certificate"
	ProblemStrongSwanSettings  ProblemCode = "strongswan-settings"
	ProblemLinks               ProblemCode = "peer-devices"
	ProblemMulticast           ProblemCode = "multicast-failed"
	ProblemMulticastUserSpace  ProblemCode = "multicast-in-user-space"
)
