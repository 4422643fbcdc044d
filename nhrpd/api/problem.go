package api

import "time"

// Problem is one thing that keeps the daemon or one of its interfaces from doing its work, or
// limits it. Code, Interface and Subject together identify it; the texts may change from one
// status to the next.
type Problem struct {
	Code      ProblemCode `json:"code"`
	Severity  Severity    `json:"severity"`
	Interface string      `json:"interface,omitempty"` // absent: the daemon as a whole
	Subject   string      `json:"subject,omitempty"`   // the peer, server, route, setting or file
	Text      string      `json:"text"`                // what happened and what it means
	Remedy    string      `json:"remedy,omitempty"`    // what to do; absent: the text says it
	Since     time.Time   `json:"since,omitzero"`      // absent: not known
}

// Severity is how bad a problem is.
type Severity string

// The severities. Everything that works as the configuration says is neither.
const (
	SeverityError   Severity = "error"   // something that is configured does not work
	SeverityWarning Severity = "warning" // it works with a limit, or may come right by itself
)

// ProblemCode names a kind of problem, for scripts and alerts. cygnet(1) lists all codes.
type ProblemCode string

// The kinds of problems.
const (
	ProblemStrongSwan          ProblemCode = "strongswan-unreachable"
	ProblemInterface           ProblemCode = "interface-failed"
	ProblemUnprotected         ProblemCode = "interface-unprotected"
	ProblemLeft                ProblemCode = "interface-left"
	ProblemTunnelMissing       ProblemCode = "tunnel-missing"
	ProblemTunnelDown          ProblemCode = "tunnel-down"
	ProblemUnderlayAddress     ProblemCode = "underlay-without-address"
	ProblemNHSRefused          ProblemCode = "nhs-refused"
	ProblemNHSUnresolved       ProblemCode = "nhs-unresolved"
	ProblemNHSUnanswered       ProblemCode = "nhs-unanswered"
	ProblemNHSUnsecured        ProblemCode = "nhs-unsecured"
	ProblemPeerUnsecured       ProblemCode = "peer-unsecured"
	ProblemPeerProhibited      ProblemCode = "peer-prohibited"
	ProblemPeerSharedAddress   ProblemCode = "peer-shared-address"
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
	ProblemNHSIsSelf           ProblemCode = "nhs-is-self"
	ProblemProfileRefused      ProblemCode = "profile-refused"
	ProblemConfiguration       ProblemCode = "configuration-doubtful"
	ProblemState               ProblemCode = "state-not-saved"
	ProblemAPIGroup            ProblemCode = "api-group"
	ProblemNetwork             ProblemCode = "network"
	ProblemPeersTaken          ProblemCode = "peers-taken"
	ProblemRouting             ProblemCode = "routing"
	ProblemCertificate         ProblemCode = "certificate"
	ProblemStrongSwanSettings  ProblemCode = "strongswan-settings"
)
