package policy

import (
	"fmt"
	"strings"
)

// longestShown is what charon shows of an identity at most, in bytes: longer ones it cuts off.
const longestShown = 511

// Unclear says why an identity that charon shows may be that of another router as well; empty: it
// is one router's. attributes is how many attributes charon itself holds a distinguished name to,
// because the remote identity of the connection has as many; 0: it holds it to none.
//
// charon shows less than it knows. It separates the attributes of a distinguished name by ", "
// without marking commas inside them, so O="Lab, CN=spoke-1" looks like O=Lab and CN=spoke-1;
// only where charon counts the attributes itself does the number of commas tell that there are
// none inside. It shows ? for every byte that is no printable character of ASCII, so Müller and
// Möller look alike. It cuts long names off, and for some kinds of identity it shows the same
// text for all.
func Unclear(identity string, attributes int) string {
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
		return "its identity " + identity + " is a distinguished name, in which a comma inside one " +
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
			return "its identity " + identity + " has blanks around an attribute, with which it " +
				"looks like one without"
		}
	}
	return ""
}

// unprintable finds the first byte that charon shows as ?, or a ?, which may stand for one.
func unprintable(s string) int {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '?' })
}

// Attributes is how many attributes a distinguished name has as charon shows it, or a pattern for
// some; 0 where it is none.
func Attributes(identity string) int {
	if !strings.Contains(identity, "=") {
		return 0
	}
	return strings.Count(identity, ",") + 1
}

// Wildcards is the pattern of charon's that takes every distinguished name with the same
// attributes.
func Wildcards(identity string) string {
	var words []string
	for _, piece := range strings.Split(identity, ",") {
		if name, _, ok := strings.Cut(piece, "="); ok {
			words = append(words, strings.TrimSpace(name)+"=*")
		}
	}
	return strings.Join(words, ", ")
}
