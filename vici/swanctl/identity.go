package swanctl

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Identity is an IKE identity, or a pattern for several, as charon reads it from a configuration.
// charon tells the kind of an identity by its notation. Two identities of different kinds never
// match, although charon may show both alike.
type Identity struct {
	Kind  IdentityKind
	text  string // as written
	value string // the identity, for a kind that is text or bytes

	first, last netip.Addr  // for an address, subnet or range
	attributes  []Attribute // for a distinguished name
	fault       string
}

// IdentityKind is the kind that charon takes an identity for.
type IdentityKind uint8

// The kinds of identities. charon tries the notations in this order: a prefix such as fqdn: or
// {2}:, a distinguished name (it contains a =), an address, @#, @@, @, user@host, a host name.
const (
	AnyIdentity  IdentityKind = iota // %any and the other notations for any identity
	HostIdentity                     // spoke1.example.net, @spoke1.example.net, fqdn:…, dns:…
	// spoke1@example.net, @@spoke1@example.net, email:…, userfqdn:…
	UserIdentity
	NameIdentity  // C=CH, CN=spoke1, /C=CH/CN=spoke1, asn1dn:#…
	AddressRange  // 192.0.2.1, 192.0.2.0/24, 192.0.2.1-192.0.2.9, and IPv6
	KeyIdentity   // @#0102, keyid:…, and whatever is of no other kind
	OtherIdentity // a kind that only charon can compare
)

// Attribute is one attribute of a distinguished name.
type Attribute struct{ Name, Value string }

// prefixes lists the prefixes of notations, with the number of the kind in IKE.
var prefixes = []struct {
	text   string
	number uint64
}{
	{"ipv4:", 1}, {"ipv6:", 5}, {"ipv4net:", 4}, {"ipv6net:", 6}, {"ipv4range:", 7},
	{"ipv6range:", 8}, {"rfc822:", 3}, {"email:", 3}, {"userfqdn:", 3}, {"fqdn:", 2}, {"dns:", 2},
	{"asn1dn:", 9}, {"asn1gn:", 10}, {"xmppaddr:", 10}, {"keyid:", 11},
}

// ParseIdentity reads an identity or a pattern.
func ParseIdentity(text string) Identity {
	id := parseIdentity(text)
	id.text = text
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			id.fault = "has a letter outside ASCII, and strongSwan takes no connection with such " +
				"a name over VICI: use another subject, or a subjectAltName, as the identity"
		}
	}
	return id
}

// anyTexts lists the notations that charon takes for any identity.
var anyTexts = []string{"", "%any", "%any6", "0.0.0.0", "*", "::", "0::0"}

func parseIdentity(text string) Identity {
	for _, p := range prefixes {
		if len(text) >= len(p.text) && strings.EqualFold(text[:len(p.text)], p.text) {
			return typed(p.number, text[len(p.text):])
		}
	}
	if number, rest, ok := numbered(text); ok {
		return typed(number, rest)
	}
	switch {
	case strings.Contains(text, "="):
		if attributes, ok := parseName(text); ok {
			return Identity{Kind: NameIdentity, attributes: attributes}
		}
		return Identity{Kind: KeyIdentity, value: text}
	case slices.Contains(anyTexts, text):
		return Identity{Kind: AnyIdentity}
	case strings.HasPrefix(text, "@#"):
		return typed(11, text[1:])
	case strings.HasPrefix(text, "@@"):
		return Identity{Kind: UserIdentity, value: text[2:]}
	case strings.HasPrefix(text, "@"):
		return Identity{Kind: HostIdentity, value: text[1:]}
	case strings.Contains(text, "@"):
		return Identity{Kind: UserIdentity, value: text}
	}
	if first, last, ok := addressRange(text); ok {
		if first == last && !strings.Contains(text, "/") {
			text = first.String()
		}
		return Identity{Kind: AddressRange, value: text, first: first, last: last}
	}
	if strings.Contains(text, ":") {
		return Identity{Kind: KeyIdentity, value: text}
	}
	return Identity{Kind: HostIdentity, value: text}
}

// numbered cuts off a prefix such as {2}: and returns its number.
func numbered(text string) (number uint64, rest string, ok bool) {
	inner, ok := strings.CutPrefix(text, "{")
	if !ok {
		return 0, "", false
	}
	digits, rest, ok := strings.Cut(inner, "}:")
	if !ok {
		return 0, "", false
	}
	number, err := strconv.ParseUint(digits, 0, 8)
	return number, rest, err == nil
}

// typed reads what follows a prefix: text, or bytes after a #.
func typed(number uint64, rest string) Identity {
	value, isHex := rest, false
	if digits, ok := strings.CutPrefix(rest, "#"); ok {
		isHex = true
		bytes, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(digits))
		if err != nil {
			const fault = "has something other than hexadecimal digits after the #"
			return Identity{Kind: OtherIdentity, fault: fault}
		}
		value = string(bytes)
	}
	switch number {
	case 2:
		return Identity{Kind: HostIdentity, value: value}
	case 3:
		return Identity{Kind: UserIdentity, value: value}
	case 11:
		return Identity{Kind: KeyIdentity, value: value}
	case 10:
		return Identity{Kind: OtherIdentity}
	case 1, 5:
		if a, ok := netip.AddrFromSlice([]byte(value)); ok && isHex && a.Is4() == (number == 1) {
			return Identity{Kind: AddressRange, value: a.String(), first: a, last: a}
		}
	case 9:
		if attributes, ok := parseDER([]byte(value)); ok && isHex {
			return Identity{Kind: NameIdentity, attributes: attributes}
		}
	case 4, 6, 7, 8:
		if isHex {
			return Identity{Kind: OtherIdentity}
		}
	default:
		return Identity{Kind: OtherIdentity}
	}
	return Identity{Kind: OtherIdentity, fault: fmt.Sprintf("has a prefix after which strongSwan "+
		"reads bytes and not text; write %s without it", strconv.Quote(rest))}
}

// attributeNames maps the names of attributes that charon reads to the names that it shows.
var attributeNames = map[string]string{
	"nd": "ND", "uid": "UID", "dc": "DC", "cn": "CN", "s": "S", "sn": "SN", "c": "C", "l": "L",
	"st": "ST", "o": "O", "ou": "OU", "t": "T", "d": "D", "n": "N", "g": "G", "i": "I", "id": "ID",
	"serialnumber": "serialNumber", "dnqualifier": "dnQualifier", "en": "employeeNumber",
	"employeenumber": "employeeNumber", "e": "E", "email": "E", "emailaddress": "E",
	"un": "unstructuredName", "unstructuredname": "unstructuredName",
	"ua": "unstructuredAddress", "unstructuredaddress": "unstructuredAddress",
	"tcgid": "tcg-at-tpmIdLabel",
}

// attributeOIDs maps object identifiers of attributes in DER to these names.
var attributeOIDs = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L",
	"2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "T", "2.5.4.42": "G",
	"1.2.840.113549.1.9.1": "E", "0.9.2342.19200300.100.1.25": "DC",
	"0.9.2342.19200300.100.1.1": "UID",
}

// parseName reads a distinguished name. Its attributes are separated by commas, or by slashes if it
// begins with one. Neither can be escaped. parseName reports false if charon does not know the name
// of an attribute.
func parseName(text string) ([]Attribute, bool) {
	separator := ","
	if rest, slashes := strings.CutPrefix(strings.TrimLeft(text, " "), "/"); slashes {
		text, separator = rest, "/"
	}
	var list []Attribute
	for piece := range strings.SplitSeq(text, separator) {
		key, value, ok := strings.Cut(piece, "=")
		name, known := attributeNames[strings.ToLower(strings.TrimSpace(key))]
		if !ok || !known {
			if strings.TrimSpace(piece) == "" {
				continue
			}
			return nil, false
		}
		list = append(list, Attribute{Name: name, Value: strings.Trim(value, " =")})
	}
	return list, len(list) > 0
}

// parseDER reads a distinguished name in DER. It puts the attributes of one RDN side by side, as
// charon does when it compares and shows them.
func parseDER(der []byte) ([]Attribute, bool) {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 {
		var raw []asn1.RawValue // no attributes, or strings that Go does not read
		if rest, err := asn1.Unmarshal(der, &raw); err != nil || len(rest) > 0 {
			return nil, false
		}
	}
	return derAttributes(der), true
}

// NameOf returns a distinguished name in DER, such as the subject of a certificate, in the form in
// which charon shows it.
func NameOf(der []byte) string {
	return Identity{Kind: NameIdentity, attributes: derAttributes(der)}.String()
}

func derAttributes(der []byte) []Attribute {
	var sets []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &sets); err != nil {
		return nil
	}
	var list []Attribute
	for _, set := range sets {
		for rest := set.Bytes; len(rest) > 0; {
			var a struct {
				Type  asn1.ObjectIdentifier
				Value asn1.RawValue
			}
			var err error
			if rest, err = asn1.Unmarshal(rest, &a); err != nil {
				return list
			}
			list = append(list, Attribute{Name: oidName(a.Type), Value: string(a.Value.Bytes)})
		}
	}
	return list
}

// oidName returns the name of an attribute as charon shows it; its bytes if charon knows no name.
func oidName(oid asn1.ObjectIdentifier) string {
	if name, ok := attributeOIDs[oid.String()]; ok {
		return name
	}
	der, err := asn1.Marshal(oid)
	if err != nil || len(der) < 2 {
		return oid.String()
	}
	return hexBytes(der[2:])
}

// addressRange reads an address, a subnet or a range of addresses.
func addressRange(text string) (first, last netip.Addr, ok bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a, a, a.Zone() == ""
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked().Addr(), lastOf(p), true
	}
	low, high, is := strings.Cut(text, "-")
	first, err1 := netip.ParseAddr(low)
	last, err2 := netip.ParseAddr(high)
	is = is && err1 == nil && err2 == nil && first.Is4() == last.Is4() && !last.Less(first)
	return first, last, is
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Fault returns why charon does not accept the identity, or reads it differently than it looks; ""
// if nothing is wrong.
func (id Identity) Fault() string { return id.fault }

// PatternFault returns why the identity, as the remote identity of a connection, matches no peer or
// not those that it seems to match; "" if nothing is wrong.
func (id Identity) PatternFault() string {
	switch {
	case id.fault != "":
		return id.fault
	case id.Kind == NameIdentity:
		for _, a := range id.attributes {
			if a.Value != "*" && strings.Contains(a.Value, "*") {
				return "has a * beside other letters in an attribute, which strongSwan takes " +
					"literally; a * alone stands for any value"
			}
		}
	case id.Kind == KeyIdentity && strings.Contains(id.value, "="):
		return "has an attribute whose name strongSwan does not know, so strongSwan does not read it as a distinguished name"
	case id.Kind == KeyIdentity && strings.Contains(id.value, "*"):
		return "has a *, which strongSwan takes literally in a key id"
	case strings.HasPrefix(id.value, "^") && strings.HasSuffix(id.value, "$"):
		// a regular expression, from strongSwan 6 on
	case strings.Contains(strings.TrimPrefix(id.value, "*"), "*"):
		return "has a * that is not its first character, which strongSwan takes literally; " +
			"write one such as *.example.net"
	}
	return ""
}

// Attributes returns the number of the distinguished name's attributes, or 0 if the identity is of
// another kind.
func (id Identity) Attributes() int { return len(id.attributes) }

// Many reports whether the identity is a pattern that several routers may match.
func (id Identity) Many() bool {
	switch id.Kind {
	case AnyIdentity, OtherIdentity:
		return true
	case HostIdentity, UserIdentity:
		return strings.HasPrefix(id.value, "*") || strings.HasPrefix(id.value, "^")
	case NameIdentity:
		for _, a := range id.attributes {
			if a.Value == "*" {
				return true
			}
		}
	case AddressRange:
		return id.first != id.last
	}
	return false
}

// String returns the identity in the form in which charon shows it.
func (id Identity) String() string {
	switch id.Kind {
	case AnyIdentity:
		return "%any"
	case NameIdentity:
		words := make([]string, len(id.attributes))
		for i, a := range id.attributes {
			words[i] = a.Name + "=" + printable(a.Value)
		}
		return strings.Join(words, ", ")
	case HostIdentity, UserIdentity:
		return printable(id.value)
	case AddressRange:
		return id.value
	case KeyIdentity:
		const sha1Size = 20
		if printable(id.value) == id.value && len(id.value) != sha1Size {
			return id.value
		}
		return hexBytes([]byte(id.value))
	}
	return id.text
}

// printable returns s with a ? in the place of each byte that is not a printable ASCII character.
func printable(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

func hexBytes(b []byte) string {
	words := make([]string, len(b))
	for i, c := range b {
		words[i] = fmt.Sprintf("%02x", c)
	}
	return strings.Join(words, ":")
}

// Fits reports whether an identity that charon shows may match the pattern. It serves for SAs that
// charon accepted before, for instance by an older configuration. It is never stricter than charon:
// where only charon can tell, it reports true.
func (id Identity) Fits(shown string) bool {
	switch id.Kind {
	case HostIdentity, UserIdentity:
		return fitsText(id.value, shown)
	case KeyIdentity:
		return shown == id.String()
	case AddressRange:
		if a, err := netip.ParseAddr(shown); err == nil {
			return !a.Less(id.first) && !id.last.Less(a) && a.Is4() == id.first.Is4()
		}
		return strings.EqualFold(shown, id.value)
	case NameIdentity:
		return id.fitsName(shown)
	}
	return true
}

// fitsText matches as charon does. It ignores case. One * at the front stands for at least one
// character. From strongSwan 6 on, a pattern between ^ and $ is a regular expression.
func fitsText(pattern, shown string) bool {
	if strings.HasPrefix(pattern, "^") && strings.HasSuffix(pattern, "$") {
		return true
	}
	if tail, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(shown) > len(tail) && strings.EqualFold(shown[len(shown)-len(tail):], tail)
	}
	return strings.EqualFold(pattern, shown)
}

// Apart reports whether no identity matches both of two patterns. It can tell that of host names
// and of user@host only, with a * at the front or without; of all others it reports false.
func (id Identity) Apart(o Identity) bool {
	for _, i := range []Identity{id, o} {
		if i.Kind != HostIdentity && i.Kind != UserIdentity || i.PatternFault() != "" ||
			strings.HasPrefix(i.value, "^") {
			return false
		}
	}
	if id.Kind != o.Kind {
		return true
	}
	tail, many := strings.CutPrefix(strings.ToLower(id.value), "*")
	oTail, oMany := strings.CutPrefix(strings.ToLower(o.value), "*")
	switch {
	case many && oMany:
		return !strings.HasSuffix(tail, oTail) && !strings.HasSuffix(oTail, tail)
	case many:
		return !fitsText(id.value, o.value)
	case oMany:
		return !fitsText(o.value, id.value)
	}
	return tail != oTail
}

// fitsName looks for each value of the pattern among the values shown, in any order and among other
// values. charon does the same with some settings of charon.rdn_matching.
func (id Identity) fitsName(shown string) bool {
	if !strings.Contains(shown, "=") {
		return false
	}
	values := make(map[string]int)
	for piece := range strings.SplitSeq(shown, ",") {
		_, value, _ := strings.Cut(piece, "=")
		values[strings.ToLower(strings.TrimSpace(value))]++
	}
	for _, a := range id.attributes {
		value := strings.ToLower(strings.TrimSpace(printable(a.Value)))
		switch {
		case a.Value == "*":
		case strings.Contains(value, ","):
			return true // it cannot be told where the value ends
		case values[value] == 0:
			return false
		default:
			values[value]--
		}
	}
	return true
}
