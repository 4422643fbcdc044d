package failure

import (
	"fmt"

	"cygnet/vici/ike"
	"cygnet/vici/message"
)

// Ends are the two ends of an attempt that this end makes, as far as words about its failure name
// them.
type Ends struct {
	Peer           ike.Key
	Identity       string // this end's, as configured; empty: not configured
	RemoteIdentity string // that the peer must have, as configured; empty: any
}

// Words returns why an attempt of this end's failed, what that means and what to check.
func (r Reason) Words(e Ends) string {
	k := e.Peer
	identity, remote, said := "this end's identity", "", ""
	if e.Identity != "" {
		identity = fmt.Sprintf("the identity %q", e.Identity)
	}
	if e.RemoteIdentity != "" {
		remote = fmt.Sprintf(" and has the identity %q (remote_identity)", e.RemoteIdentity)
	}
	if r.Said != "" {
		said = quoted(r.Said)
	}
	switch r.Cause {
	case Authentication:
		return fmt.Sprintf(
			"authentication with %v failed: check that both ends have the same PSK, or certificates of CAs that the other trusts, and that the peer accepts %s%s%s",
			k, identity, remote, said)
	case NoSecret:
		return fmt.Sprintf(
			"no PSK for %v: check that the identities of both ends match those the PSK is for%s",
			k, said)
	case NoKey:
		return fmt.Sprintf(
			"no private key to authenticate to %v: check that /etc/swanctl/private holds the key of %s and that swanctl --load-creds has loaded it%s",
			k, identity, said)
	case Untrusted:
		return fmt.Sprintf(
			"the certificate of %v is not trusted: check that its CA is in /etc/swanctl/x509ca, loaded by swanctl --load-creds, and that it is valid now%s",
			k, said)
	case WrongIdentity:
		return fmt.Sprintf(
			"%v is not who it must be: check the remote identity of the profile against the peer's%s",
			k, said)
	case Proposals:
		return fmt.Sprintf(
			"%v shares no algorithms with this end: check that the proposals of both ends have one in common%s",
			k, said)
	case Selectors:
		return fmt.Sprintf(
			"%v does not let GRE through the SA: check that both ends use transport mode with local_ts and remote_ts dynamic[gre], and that both have sa = \"per-key\" and the same key, or neither has it%s",
			k, said)
	case Unknown:
		return fmt.Sprintf(
			"charon gave up dialling %v and did not say why: see its log at both ends", k)
	case Unsupported:
		return fmt.Sprintf(
			"charon here lacks an algorithm of the proposals for %v: install its plugins (Debian: libstrongswan-standard-plugins) or change the proposals%s",
			k, said)
	}
	return fmt.Sprintf(
		"no answer from %v: check that the peer is up, that its tunnel has IPsec too and its charon runs, and that UDP ports 500 and 4500 get through in both directions%s",
		k, said)
}

// InboundWords returns why a router that dialled this end gets no SA, and what to compare. claimed
// is the identity that the router claims; empty: not known.
func (r Reason) InboundWords(claimed string) string {
	who := "it"
	if claimed != "" {
		who = fmt.Sprintf("it claims to be %q and", message.Shorten(claimed))
	}
	said := quoted(r.Said)
	switch r.Cause {
	case Authentication:
		return who +
			" does not prove it by a key of this router's: compare the PSK (psk_file) of both" +
			said
	case NoSecret:
		return who +
			" cannot be authenticated, since no PSK here is for the identities of the two: compare identity on both" +
			said
	case NoKey:
		return who +
			" gets no proof of who this router is: the private key of its certificate is not loaded here" +
			said
	case Untrusted:
		return who +
			" has a certificate that this router does not trust: compare the CAs of both, and look when it expires" +
			said
	}
	return who +
		" is not accepted under that identity: compare remote_identity here with identity there" +
		said
}

// Childless returns why an IKE_SA without a CHILD_SA was closed, if charon did not say.
func Childless(k ike.Key) string {
	return fmt.Sprintf(
		"%v authenticated, but no SA for GRE came of it: check that both ends use transport mode with local_ts and remote_ts dynamic[gre], that both have sa = \"per-key\" and the same key, or neither has it, and that they share an ESP proposal",
		k)
}

// NotBegunWords returns why charon did not even begin an initiation.
func NotBegunWords(k ike.Key, err error) string {
	return fmt.Sprintf("charon does not dial %v: %v: check the connection settings of the profile",
		k, err)
}

// Closed returns why this end closed an SA; wrong is what is wrong with it.
func Closed(k ike.Key, wrong string) string {
	return fmt.Sprintf("%v %s (the SA was closed)", k, wrong)
}

func quoted(said string) string { return fmt.Sprintf(" (charon: %s)", message.Shorten(said)) }
