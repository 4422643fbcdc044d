package vici

import (
	"encoding/asn1"
	"encoding/hex"
	"testing"

	"cygnet/vici/swanctl"

	"cygnet/vici/profile"
)

// identityCase is an identity in one end's configuration and a pattern in the other end's. It says
// whether the pattern matches the identity, and how the other end's charon shows the identity. The
// lab checks charon itself against the table of cases. The unit tests check package swanctl, which
// reads identities for the daemon.
type identityCase struct {
	local   string // the identity
	remote  string // the pattern
	printed string // how charon shows the identity, if the pattern matches
	taken   bool   // the pattern matches
}

// anyIdentity is the pattern that matches every identity.
const anyIdentity = "%any"

// derName returns a distinguished name that cannot be written as text, in charon's notation for
// bytes. Each list is one RDN with its attributes.
func derName(rdns ...[]asn1Attribute) string {
	var name []byte
	for _, rdn := range rdns {
		var set []byte
		for _, a := range rdn {
			oid, err := asn1.Marshal(a.oid)
			if err != nil {
				panic(err)
			}
			set = append(set, tlv(0x30, append(oid, tlv(a.tag, []byte(a.value))...))...)
		}
		name = append(name, tlv(0x31, set)...)
	}
	return "asn1dn:#" + hex.EncodeToString(tlv(0x30, name))
}

// asn1Attribute is an attribute of an RDN. The tag is the type of the value.
type asn1Attribute struct {
	oid   asn1.ObjectIdentifier
	tag   byte
	value string
}

// tlv returns the DER encoding of a value with a tag.
func tlv(tag byte, content []byte) []byte {
	if len(content) < 128 {
		return append([]byte{tag, byte(len(content))}, content...)
	}
	return append([]byte{tag, 0x82, byte(len(content) >> 8), byte(len(content))}, content...)
}

// Tags of ASN.1 string types.
const (
	utf8String = 12
	bmpString  = 30
)

// organization returns the attribute O with a value.
func organization(value string) asn1Attribute {
	return asn1Attribute{asn1.ObjectIdentifier{2, 5, 4, 10}, utf8String, value}
}

// commonName returns the attribute CN with a value.
func commonName(value string) asn1Attribute {
	return asn1Attribute{asn1.ObjectIdentifier{2, 5, 4, 3}, utf8String, value}
}

var (
	withComma   = derName([]asn1Attribute{organization("Lab, CN=spoke-1")})
	multiValued = derName([]asn1Attribute{organization("Lab"), commonName("x")})
	umlaut      = derName([]asn1Attribute{organization("Lab")},
		[]asn1Attribute{commonName("M\u00fcller")})
	wideLetters = derName([]asn1Attribute{{asn1.ObjectIdentifier{2, 5, 4, 3}, bmpString,
		"\x00a\x00b"}})
	blanks    = derName([]asn1Attribute{organization(" Lab ")}, []asn1Attribute{commonName("x")})
	emptyName = derName()
	byOID     = func(oid ...int) string {
		return derName([]asn1Attribute{{asn1.ObjectIdentifier(oid), utf8String, "x"}})
	}
)

var identityCases = []identityCase{
	// How charon shows each kind.
	{"spoke1.example.net", anyIdentity, "spoke1.example.net", true},
	{"Spoke1.Example.net", anyIdentity, "Spoke1.Example.net", true},
	{"@spoke2.example.net", anyIdentity, "spoke2.example.net", true},
	{"fqdn:spoke3.example.net", anyIdentity, "spoke3.example.net", true},
	{"FQDN:spoke4.example.net", anyIdentity, "spoke4.example.net", true},
	{"dns:spoke5.example.net", anyIdentity, "spoke5.example.net", true},
	{"{2}:spoke6", anyIdentity, "spoke6", true},
	{"{2}:#73706f6b65", anyIdentity, "spoke", true},
	{"spoke@example.net", anyIdentity, "spoke@example.net", true},
	{"@@spoke2@example.net", anyIdentity, "spoke2@example.net", true},
	{"email:spoke3@example.net", anyIdentity, "spoke3@example.net", true},
	{"rfc822:spoke4.example.net", anyIdentity, "spoke4.example.net", true},
	{"userfqdn:spoke5@example.net", anyIdentity, "spoke5@example.net", true},
	{"192.0.2.7", anyIdentity, "192.0.2.7", true},
	{"ipv4:#c0000207", anyIdentity, "192.0.2.7", true},
	{"2001:db8::7", anyIdentity, "2001:db8::7", true},
	{"192.0.2.0/28", anyIdentity, "192.0.2.0/28", true},
	{"192.0.2.1-192.0.2.9", anyIdentity, "192.0.2.1-192.0.2.9", true},
	{"2001:db8::/64", anyIdentity, "2001:db8::/64", true},
	{"@#0102030a", anyIdentity, "01:02:03:0a", true},
	{"@#73706f6b6537", anyIdentity, "spoke7", true},
	{"keyid:spoke8.example.net", anyIdentity, "spoke8.example.net", true},
	{"keyid:0123456789012345678a", anyIdentity,
		"30:31:32:33:34:35:36:37:38:39:30:31:32:33:34:35:36:37:38:61", true},
	{"C=CH, O=Example, CN=spoke 1", anyIdentity, "C=CH, O=Example, CN=spoke 1", true},
	{"O=Lab,CN=a,OU=b", anyIdentity, "O=Lab, CN=a, OU=b", true},
	{"/C=CH/O=Example/CN=spoke1", anyIdentity, "C=CH, O=Example, CN=spoke1", true},
	{"no name=1", anyIdentity, "no name=1", true},

	// Different identities that charon shows alike.
	{withComma, anyIdentity, "O=Lab, CN=spoke-1", true},
	{"fqdn:O=Lab, CN=spoke-1", anyIdentity, "O=Lab, CN=spoke-1", true},
	{multiValued, anyIdentity, "O=Lab, CN=x", true},
	{umlaut, anyIdentity, "O=Lab, CN=M??ller", true},
	{wideLetters, anyIdentity, "CN=?a?b", true},
	{blanks, anyIdentity, "O= Lab , CN=x", true},
	{emptyName, anyIdentity, "", true},

	// The names of attributes.
	{"ND=1, UID=2, DC=3, CN=4, C=5, L=6, ST=7, O=8, OU=9, T=10", anyIdentity,
		"ND=1, UID=2, DC=3, CN=4, C=5, L=6, ST=7, O=8, OU=9, T=10", true},
	{"D=1, N=2, G=3, I=4, ID=5, S=6, SN=7, E=8", anyIdentity,
		"D=1, N=2, G=3, I=4, ID=5, S=6, SN=7, E=8", true},
	{"emailAddress=a@b", anyIdentity, "E=a@b", true},
	{"Email=c@d", anyIdentity, "E=c@d", true},
	{"serialNumber=5", anyIdentity, "serialNumber=5", true},
	{"employeeNumber=5, EN=6, dnQualifier=7", anyIdentity,
		"employeeNumber=5, employeeNumber=6, dnQualifier=7", true},
	{"unstructuredName=5, UN=6, UA=7", anyIdentity,
		"unstructuredName=5, unstructuredName=6, unstructuredAddress=7", true},
	{byOID(2, 5, 4, 4), anyIdentity, "SN=x", true},
	{byOID(2, 5, 4, 5), anyIdentity, "serialNumber=x", true},
	{byOID(1, 2, 3, 4), anyIdentity, "2a:03:04=x", true},

	// Patterns.
	{"spoke1.example.net", "*", "spoke1.example.net", true},
	{"spoke1.example.net", "0.0.0.0", "spoke1.example.net", true},
	{"spoke1.example.net", "%any6", "spoke1.example.net", true},
	{"spoke1.example.net", "::", "spoke1.example.net", true},
	{"spoke1.example.net", "*.example.net", "spoke1.example.net", true},
	{"a.b.Example.Net", "*.example.net", "a.b.Example.Net", true},
	{"spoke1.example.net", "@*.example.net", "spoke1.example.net", true},
	{"spoke1.example.net", "fqdn:*", "spoke1.example.net", true},
	{"spoke1.example.net", "{2}:*", "spoke1.example.net", true},
	{"spoke1.example.net", "*spoke1.example.net", "", false},
	{"spoke1.example.net", "spoke*.example.net", "", false},
	{"spoke1.example.net", "SPOKE1.example.net", "spoke1.example.net", true},
	{"spoke1.example.net", "@@*.example.net", "", false},
	{"keyid:spoke1.example.net", "*.example.net", "", false},
	{"rfc822:spoke1.example.net", "*.example.net", "", false},
	{"keyid:a", "keyid:a", "a", true},
	{"keyid:a", "@#61", "a", true},
	{"keyid:A", "keyid:a", "", false},
	{"keyid:a", "keyid:*", "", false},
	{"spoke@example.net", "*@example.net", "spoke@example.net", true},
	{"spoke@example.net", "@@*@example.net", "spoke@example.net", true},
	{"spoke@example.net", "email:*@example.net", "spoke@example.net", true},
	{"spoke@example.net", "@*@example.net", "", false},
	{"@spoke@example.net", "@*@example.net", "spoke@example.net", true},
	{"192.0.2.7", "192.0.2.7", "192.0.2.7", true},
	{"192.0.2.7", "192.0.2.70", "", false},
	{"192.0.2.7", "192.0.2.0/28", "192.0.2.7", true},
	{"192.0.2.77", "192.0.2.0/28", "", false},
	{"192.0.2.7", "0.0.0.0/0", "192.0.2.7", true},
	{"192.0.2.7", "192.0.2.1-192.0.2.9", "192.0.2.7", true},
	{"192.0.2.99", "192.0.2.1-192.0.2.9", "", false},
	{"192.0.2.7", "192.0.2.*", "", false},
	{"192.0.2.0/28", "192.0.2.0/28", "192.0.2.0/28", true},
	{"spoke1.example.net", "0.0.0.0/0", "", false},
	{"2001:db8::7", "2001:db8::/64", "2001:db8::7", true},
	{"2001:db8::7", "2001:db8::1-2001:db8::9", "2001:db8::7", true},
	{"2001:db8::7", "2001:db9::/64", "", false},
	{"2001:db8::7", "::/0", "2001:db8::7", true},
	{"O=Lab, CN=x", "O=*, CN=*", "O=Lab, CN=x", true},
	{"O=Lab, CN=x", "/O=*/CN=*", "O=Lab, CN=x", true},
	{"O=Lab, CN=x", "O=lab, CN=X", "O=Lab, CN=x", true},
	{"O=Lab, CN=x", "O=*, CN=y", "", false},
	{"O=Lab, CN=x", "O=*", "", false},
	{"O=Lab, CN=x", "O=Lab, CN=x*", "", false},
	{multiValued, "O=*, CN=*", "O=Lab, CN=x", true},
	{withComma, "O=*, CN=*", "", false},
	{withComma, "O=*", "O=Lab, CN=spoke-1", true},
	{"fqdn:O=Lab, CN=x", "O=*, CN=*", "", false},
	{emptyName, "O=*, CN=*", "", false},
}

// charonRefuses are identities that charon does not accept by VICI, since they have letters outside
// ASCII.
var charonRefuses = []string{"M\u00fcller.example.net", "CN=M\u00fcller"}

// charonMistakes are notations that charon reads differently from what they seem to say: after
// these prefixes charon expects bytes, not text.
var charonMistakes = []string{
	"ipv4:192.0.2.7", "ipv6:2001:db8::7", "ipv4net:192.0.2.0/28", "ipv4range:192.0.2.1-192.0.2.9",
	"asn1dn:C=CH, CN=x",
}

// A pattern in package swanctl matches every identity that it matches in charon. If charon does not
// match an identity, there is no SA to evaluate. The map lenient lists the identities that only
// package swanctl matches, so that a change of that set is noticed.
func TestIdentitiesFit(t *testing.T) {
	lenient := map[identityCase]bool{
		// Charon shows these like identities that the pattern matches.
		{"keyid:spoke1.example.net", "*.example.net", "", false}:  true,
		{"rfc822:spoke1.example.net", "*.example.net", "", false}: true,
		{"spoke@example.net", "@*@example.net", "", false}:        true,
		{withComma, "O=*, CN=*", "", false}:                       true,
		{"fqdn:O=Lab, CN=x", "O=*, CN=*", "", false}:              true,
		// The setting charon.rdn_matching may be relaxed.
		{"O=Lab, CN=x", "O=*", "", false}: true,
		// What charon shows does not say of which kind the identity is.
		{"spoke1.example.net", "@@*.example.net", "", false}: true,
	}
	shown := map[string]string{}
	for _, c := range identityCases {
		if c.remote == anyIdentity {
			shown[c.local] = c.printed
		}
	}
	for _, c := range identityCases {
		printed := c.printed
		if !c.taken {
			if printed = shown[c.local]; printed == "" {
				printed = swanctl.ParseIdentity(c.local).String()
			}
		}
		got := swanctl.ParseIdentity(c.remote).Fits(printed)
		if want := c.taken || lenient[c]; got != want {
			t.Errorf("%q takes %q, shown as %q: %v, want %v", c.remote, c.local, printed, got, want)
		}
	}
}

// Package swanctl writes an identity in the way in which charon shows it.
func TestIdentitiesAsShown(t *testing.T) {
	for _, c := range identityCases {
		if c.remote != anyIdentity || c.local == emptyName {
			continue
		}
		if got := swanctl.ParseIdentity(c.local).String(); got != c.printed {
			t.Errorf("%q is shown as %q, want %q", c.local, got, c.printed)
		}
	}
}

// Package swanctl finds the identities that charon refuses, or that charon reads differently from
// what they seem to say, before they are loaded. It also finds patterns that match no identity.
func TestIdentitiesThatAreMistakes(t *testing.T) {
	for _, id := range append(charonRefuses, charonMistakes...) {
		if swanctl.ParseIdentity(id).Fault() == "" {
			t.Errorf("%q is taken for right", id)
		}
	}
	useless := map[string]bool{ // patterns that match no router's identity
		"spoke*.example.net": true, "keyid:*": true, "192.0.2.*": true, "O=Lab, CN=x*": true,
	}
	for _, c := range identityCases {
		if fault := swanctl.ParseIdentity(c.local).Fault(); fault != "" {
			t.Errorf("%q is taken for wrong: %s", c.local, fault)
		}
		if fault := swanctl.ParseIdentity(c.remote).PatternFault(); (fault != "") !=
			useless[c.remote] {
			t.Errorf("as a remote identity %q is wrong: %q", c.remote, fault)
		}
	}
}

// The client keeps an SA whose remote identity charon has accepted, in whichever notation the
// identity is written.
func TestSAsOfAllNotationsStay(t *testing.T) {
	for _, c := range identityCases {
		if !c.taken || c.printed == "" {
			continue
		}
		rules := profile.Profile{Interface: "gre1", PSK: profile.Secret("x"),
			RemoteIdentity: c.remote}.Rules()
		if reason := rules.Refuses(&SA{RemoteID: c.printed, RemoteIKE: c.printed}); reason != "" {
			t.Errorf("the SA of %q, which %q takes, would be closed: %s", c.printed, c.remote,
				reason)
		}
	}
}
