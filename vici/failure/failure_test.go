package failure

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"cygnet/vici/ike"
)

var ends = Ends{Peer: ike.Key{Interface: "gre1", NBMA: netip.MustParseAddr("192.0.2.1")},
	Identity: "me.example.net", RemoteIdentity: "*.example.net"}

// Each message of charon's leads to words that name the peer, quote the message, and say what to
// check.
func TestWords(t *testing.T) {
	for line, check := range map[string]string{
		"received AUTHENTICATION_FAILED notify error":          "same PSK",
		"tried 1 shared key, but MAC mismatched":               "\"*.example.net\" (remote_identity)",
		"no shared key found for 'a' - 'b'":                    "no PSK",
		"no private key found for 'a'":                         "/etc/swanctl/private",
		"no trusted ECDSA public key found for 'b'":            "x509ca",
		"no issuer certificate found for \"CN=a\"":             "x509ca",
		"subject certificate expired":                          "valid now",
		"certificate was revoked on Jan 01":                    "not trusted",
		"constraint check failed: identity 'c' required ":      "remote identity",
		"received NO_PROPOSAL_CHOSEN notify error":             "algorithms",
		"received INVALID_KE_PAYLOAD notify error":             "algorithms",
		"received TS_UNACCEPTABLE notify, no CHILD_SA built":   "dynamic[gre]",
		"configured DH group CURVE_25519 not supported":        "libstrongswan-standard-plugins",
		"giving up after 3 retransmits":                        "UDP ports",
		"error writing to socket: Network is unreachable":      "UDP ports",
		Alert("PEER_AUTH_FAILED"):                              "same PSK",
		Alert("PROPOSAL_MISMATCH_IKE"):                         "algorithms",
		Alert("TS_MISMATCH"):                                   "transport mode",
		"no shared key found, and AUTHENTICATION_FAILED later": "no PSK",
	} {
		reason, ok := Of(line)
		words := reason.Words(ends)
		if !ok || !strings.Contains(words, check) || !strings.Contains(words, line) ||
			!strings.Contains(words, "192.0.2.1 on gre1") {
			t.Errorf("%q: want words with %q, the message and the peer, have %q", line, check,
				words)
		}
	}
	if reason, ok := Of("initiating IKE_SA"); ok {
		t.Errorf("an ordinary message is taken for a failure: %+v", reason)
	}
}

// Where charon said nothing, the words quote nothing.
func TestWordsWithoutAMessage(t *testing.T) {
	for _, words := range []string{
		Reason{}.Words(ends), Reason{Cause: Unknown}.Words(Ends{Peer: ends.Peer}),
		Childless(ends.Peer), NotBegunWords(ends.Peer, fmt.Errorf("no such connection")),
		Closed(ends.Peer, "uses tunnel mode"),
	} {
		if strings.Contains(words, "(charon:") || !strings.Contains(words, "192.0.2.1 on gre1") {
			t.Errorf("want the peer and no message, have %q", words)
		}
	}
}

// The lines about an IKE_SA that another router wants tell who it is, and why it fails.
func TestDialogs(t *testing.T) {
	for last, check := range map[string]string{
		"tried 1 shared key for 'a' - 'b', but MAC mismatched": "compare the PSK",
		"no shared key found for 'a' - 'b'":                    "compare identity on both",
		"no private key found for 'a'":                         "is not loaded here",
		"no trusted RSA public key found for 'b'":              "does not trust",
		"no matching peer config found":                        "compare remote_identity here",
		"no alternative config found":                          "compare remote_identity here",
	} {
		var d Dialogs
		for _, line := range []string{
			"received packet: from 192.0.2.9[500] to 192.0.2.100[500] (500 bytes)",
			"looking for peer configs matching 192.0.2.100[a]...192.0.2.9[b]",
			"selected peer config 'cygnet-gre1'",
		} {
			if got, ok := d.Line("77", line); ok {
				t.Errorf("%q is taken for a failure: %+v", line, got)
			}
		}
		got, ok := d.Line("77", last)
		if !ok || got.Identity != "b" || got.Remote != netip.MustParseAddr("192.0.2.9") ||
			got.Local != netip.MustParseAddr("192.0.2.100") || got.Reason.Said != last {
			t.Errorf("%q: want the failure of b, 192.0.2.9 to 192.0.2.100, have %v, %+v", last, ok,
				got)
		}
		words := got.Reason.InboundWords(got.Identity)
		if !strings.Contains(words, check) || !strings.Contains(words, `"b"`) {
			t.Errorf("%q: want words with %q and the identity, have %q", last, check, words)
		}
		if _, ok := d.Line("78", last); ok {
			t.Errorf("%q: a failure of an unknown router is reported", last)
		}
		if _, ok := d.Line("", last); ok {
			t.Errorf("%q: a failure of no IKE_SA is reported", last)
		}
	}
}

// The number of IKE_SAs that are remembered has a limit.
func TestDialogsAreBounded(t *testing.T) {
	var d Dialogs
	for i := range 10 * maxDialogs {
		d.Line(fmt.Sprint(i), "received packet: from 192.0.2.9[500] to 192.0.2.100[500] (5 bytes)")
	}
	if n := len(d.open); n > maxDialogs {
		t.Errorf("want at most %d IKE_SAs remembered, have %d", maxDialogs, n)
	}
}

// Log lines of another form than the expected one do no harm.
func TestStrangeLines(t *testing.T) {
	for _, line := range []string{
		"received packet: from ",
		"received packet: from x to y (",
		"received packet: from [500] to [500]",
		"looking for peer configs matching ",
	} {
		var d Dialogs
		d.Line("1", line)
		if got, ok := d.Line("1", "no matching peer config found"); ok {
			t.Errorf("%q: want no failure, have %+v", line, got)
		}
	}
	if remote, local := endpoints(
		"received packet: from 192.0.2.9[4500] to 192.0.2.100[4500] (65 bytes)",
	); remote.String() != "192.0.2.9" || local.String() != "192.0.2.100" {
		t.Errorf("want 192.0.2.9 to 192.0.2.100, have %s to %s", remote, local)
	}
	if got := claimed(
		"looking for peer configs matching 192.0.2.1[%any]...192.0.2.9[C=CH, CN=a]",
	); got != "C=CH, CN=a" {
		t.Errorf("want the identity C=CH, CN=a, have %q", got)
	}
}

// Every cause has a name of its own.
func TestCausesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for c := NoAnswer; c <= Ended; c++ {
		if seen[c.String()] || c.String() == "" {
			t.Errorf("cause %d is called %q", c, c)
		}
		seen[c.String()] = true
	}
}
