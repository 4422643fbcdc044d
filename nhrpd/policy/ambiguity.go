package policy

import (
	"fmt"
	"strings"
)

// longestShown is the most that charon shows of an identity, in bytes. It cuts longer ones off.
const longestShown = 511

// Ambiguity returns why another router may have an identity that charon shows in the same way; it
// returns "" if the identity shown belongs to one router only. attributes is how many attributes a
// distinguished name must have for charon to accept it, because the remote identity of the
// connection has as many; 0 means that charon does not count them.
//
// charon shows less of an identity than it knows. It separates the attributes of a distinguished
// name by ", " without marking commas inside them, so O="Lab, CN=spoke-1" looks like O=Lab and
// CN=spoke-1. Only where charon itself counts the attributes does the number of commas prove that
// no comma lies inside an attribute. charon shows ? for every byte that is not a printable ASCII
// character, so Müller and Möller look alike. It cuts long names off, and for some kinds of
// identity it shows the same text for all.
func Ambiguity(identity string, attributes int) string {
	switch {
	case identity == "" || identity == "%any":
		return "it proved no identity that strongSwan can show: give it a certificate with a name"
	case len(identity) >= longestShown:
		return fmt.Sprintf("strongSwan shows no more than %d bytes of its identity, "+
			"so that others may look the same: give it a shorter one", longestShown)
	case strings.HasPrefix(identity, "(") || strings.Contains(identity, "(invalid ID"):
		return "its identity " + identity + " is of a kind that strongSwan does not show: " +
			"give it a host name, user@host or distinguished name"
	case unprintable(identity) >= 0:
		return "its identity " + identity + " has letters outside ASCII, for which strongSwan " +
			"shows ?, so that others may look the same: give it a subject without them, or a " +
			"subjectAltName as its identity"
	case !strings.Contains(identity, "="):
		return ""
	case attributes == 0:
		return "its identity " + identity +
			" is a distinguished name, in which a comma inside one " +
			"attribute would look like another attribute: set remote_identity to a distinguished " +
			"name with the same attributes, such as \"" + Wildcards(identity) + "\""
	}
	pieces := strings.Split(identity, ",")
	if len(pieces) != attributes {
		return fmt.Sprintf("its identity %s has a comma inside an attribute, or another number "+
			"of attributes than the %d of the remote identity", identity, attributes)
	}
	for i, piece := range pieces {
		if i > 0 {
			piece = strings.TrimPrefix(piece, " ")
		}
		if piece != strings.TrimSpace(piece) || !strings.Contains(piece, "=") {
			return "its identity " + identity + " has blanks around an attribute, and strongSwan " +
				"shows it like one without them"
		}
	}
	return ""
}

// unprintable returns the index of the first byte that charon shows as ?, or of a ?, which may
// stand for such a byte; -1 if there is none.
func unprintable(s string) int {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '?' })
}

// Attributes returns how many attributes a distinguished name, as charon shows it, or a pattern for
// such names has. It returns 0 for other identities.
func Attributes(identity string) int {
	if !strings.Contains(identity, "=") {
		return 0
	}
	return strings.Count(identity, ",") + 1
}

// Wildcards returns the pattern, in charon's notation, that matches every distinguished name with
// the same attributes as identity.
func Wildcards(identity string) string {
	var words []string
	for _, piece := range strings.Split(identity, ",") {
		if name, _, ok := strings.Cut(piece, "="); ok {
			words = append(words, strings.TrimSpace(name)+"=*")
		}
	}
	return strings.Join(words, ", ")
}
