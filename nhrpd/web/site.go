package web

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"cygnet/nhrpd/api"
)

// policy is the content security policy of every answer.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// headers are in every answer.
var headers = map[string]string{
	"Content-Security-Policy":      policy,
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), " +
		"usb=()",
	"Cache-Control": "no-store",
}

// site holds every request to the rules for browsers, before the mux sees it.
type site struct {
	mux   *http.ServeMux
	hosts []string // names by which browsers reach the page
	door  *door
	relay *relay
}

// ServeHTTP implements [http.Handler].
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	switch {
	case !s.knows(r.Host):
		fail(w, http.StatusMisdirectedRequest, fmt.Errorf(
			"this page is not served by that name: use its address, or start "+
				"cygnet web with --host and the name"))
	case foreign(r):
		fail(w, http.StatusForbidden, fmt.Errorf("another web site made this request"))
	case !allowed(r):
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed, fmt.Errorf("only GET and HEAD are allowed here"))
	default:
		r.Body = http.MaxBytesReader(w, r.Body, mostBody)
		s.mux.ServeHTTP(w, r)
	}
}

// knows reports whether a Host header names the page. An address always does: a site that has its
// name lead here (DNS rebinding) sends its name.
func (s *site) knows(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return !a.IsUnspecified() && a.Zone() == ""
	}
	return strings.EqualFold(host, "localhost") ||
		slices.ContainsFunc(s.hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// foreign reports whether another site had the browser make a request. Only the page itself may be
// opened by a link from elsewhere: its cookie does not go along then, and it cannot be framed.
func foreign(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		return origin != "http://"+r.Host && origin != "https://"+r.Host
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return r.URL.Path != "/" || r.Header.Get("Sec-Fetch-Mode") != "navigate" ||
		r.Header.Get("Sec-Fetch-Dest") != "document"
}

// allowed reports whether a request has a method that its path takes.
func allowed(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet:
		return true
	case http.MethodHead: // a stream has no end for it
		return !strings.HasPrefix(r.URL.Path, prefix+"/")
	case http.MethodPost:
		return r.URL.Path == "/login" || r.URL.Path == "/logout"
	}
	return false
}

// fail answers with an error, in the form of the daemon's API.
func fail(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(failure(err)) // an error means that the browser went away
}

// failure returns an error in the form of the daemon's API.
func failure(err error) []byte {
	text, _ := json.Marshal(api.Failure{Error: err.Error()}) // a string is always possible
	return append(text, '\n')
}
