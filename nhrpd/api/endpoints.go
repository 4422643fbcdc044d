package api

import (
	"cmp"
	"net/http"
	"reflect"
)

// endpoint is a path of the API. What uses POST changes something or sends packets; what uses GET
// only shows.
type endpoint struct {
	method  string // empty: GET
	summary string
	query   []parameter
	request reflect.Type // the object in the body; nil: none
	answer  reflect.Type // nil: 204 and no body
	form    form         // of the answer
	serve   func(*server, http.ResponseWriter, *http.Request)
}

// allowed returns the method that the endpoint takes.
func (e *endpoint) allowed() string { return cmp.Or(e.method, http.MethodGet) }

// parameter is a parameter of an endpoint's query.
type parameter struct {
	name, summary string
	required      bool
}

// form is how an answer is written.
type form uint8

// The forms.
const (
	asJSON  form = iota
	asLines      // one JSON object a line, for as long as there are some
	asText       // Prometheus text format
)

// endpoints are all paths of the API.
var endpoints = map[string]*endpoint{
	"/v1/version": {
		summary: "The version of the daemon.",
		answer:  reflect.TypeFor[VersionInfo](), serve: (*server).version,
	},
	"/v1/status": {
		summary: "All that the daemon knows.",
		answer:  reflect.TypeFor[Status](), serve: (*server).view,
	},
	"/v1/peers": {
		summary: "The other routers.",
		answer:  reflect.TypeFor[[]Peer](), serve: (*server).view,
	},
	"/v1/bindings": {
		summary: "The clients that registered here, and static maps.",
		answer:  reflect.TypeFor[[]Binding](), serve: (*server).view,
	},
	"/v1/shortcuts": {
		summary: "The direct paths to other spokes.",
		answer:  reflect.TypeFor[[]Shortcut](), serve: (*server).view,
	},
	"/v1/nhs": {
		summary: "The next hop servers and the registrations with them.",
		answer:  reflect.TypeFor[[]NHS](), serve: (*server).view,
	},
	"/v1/routes": {
		summary: "The routes of shortcuts and of prefixes that clients announced.",
		answer:  reflect.TypeFor[[]Route](), serve: (*server).view,
	},
	"/v1/blocked": {
		summary: "The identities that are shut out.",
		answer:  reflect.TypeFor[[]Blocked](), serve: (*server).view,
	},
	"/v1/sas": {
		summary: "The SAs, with the byte counts that the kernel has now.",
		answer:  reflect.TypeFor[[]SA](), serve: (*server).sas,
	},
	"/v1/pairs": {
		summary: "What this router told others of the paths between them, and what they asked.",
		answer:  reflect.TypeFor[[]Pair](), serve: (*server).pairs,
	},
	"/v1/explain": {
		summary: "Why traffic to an address goes the way it goes.",
		query: []parameter{
			{"destination", "The address that the traffic is for.", true},
			{"source", "On a hub, the address that it comes from.", false},
		},
		answer: reflect.TypeFor[Explanation](), serve: (*server).explain,
	},
	"/v1/events": {
		summary: "What happened, and why.",
		query: []parameter{
			{"since", "The number of the last event that the reader has, a duration such as 1h, " +
				"or now; by default all that the daemon keeps.", false},
			{"journal", "The journal that the number in since belongs to.", false},
			{"peer", "Only events about a peer: an address, or a part of an identity.", false},
			{"follow", "With true the stream goes on with what happens.", false},
		},
		answer: reflect.TypeFor[Event](), form: asLines, serve: (*server).events,
	},
	"/v1/monitor": {
		summary: "The NHRP packets as they come and go.",
		query: []parameter{
			{"peer", "Only packets of a peer: an address, or a part of an identity.", false},
			{"interface", "Only packets of an interface.", false},
			{"type", "Only messages of a type, such as resolution-request.", false},
		},
		answer: reflect.TypeFor[Monitored](), form: asLines, serve: (*server).monitor,
	},
	"/metrics": {
		summary: "The metrics.",
		answer:  reflect.TypeFor[string](), form: asText, serve: (*server).metrics,
	},

	"/v1/leave": {
		method: http.MethodPost, summary: "Say goodbye to the network.",
		request: reflect.TypeFor[LeaveRequest](), serve: (*server).leave,
	},
	"/v1/drain": {
		method: http.MethodPost, summary: "Ask the clients of this hub away, or take them again.",
		request: reflect.TypeFor[DrainRequest](), serve: (*server).drain,
	},
	"/v1/reload": {
		method: http.MethodPost, summary: "Read the configuration file again and apply it.",
		request: reflect.TypeFor[ReloadRequest](), answer: reflect.TypeFor[Reloaded](),
		serve: (*server).reload,
	},
	"/v1/block": {
		method: http.MethodPost, summary: "Shut an identity out.",
		request: reflect.TypeFor[BlockRequest](), serve: (*server).block,
	},
	"/v1/unblock": {
		method: http.MethodPost, summary: "End a block.",
		request: reflect.TypeFor[UnblockRequest](), serve: (*server).unblock,
	},
	"/v1/log": {
		method: http.MethodPost, summary: "Set the level of the log.",
		request: reflect.TypeFor[LogRequest](), serve: (*server).setLog,
	},
	"/v1/resolve": {
		method: http.MethodPost, summary: "Ask for a direct path now.",
		request: reflect.TypeFor[ResolveRequest](), answer: reflect.TypeFor[Explanation](),
		serve: (*server).resolve,
	},
	"/v1/ping": {
		method: http.MethodPost, summary: "Send NHRP packets to a router.",
		request: reflect.TypeFor[PingRequest](), answer: reflect.TypeFor[PingResult](),
		serve: (*server).ping,
	},
	"/v1/clear": {
		method: http.MethodPost, summary: "End shortcuts, SAs or a binding.",
		request: reflect.TypeFor[ClearRequest](), answer: reflect.TypeFor[[]Cleared](),
		serve: (*server).clear,
	},
	"/v1/register": {
		method: http.MethodPost, summary: "Register with the next hop servers at once.",
		request: reflect.TypeFor[RegisterRequest](), answer: reflect.TypeFor[[]NHS](),
		serve: (*server).register,
	},
}
