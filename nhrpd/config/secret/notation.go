package secret

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"unicode/utf8"
)

// otherFile matches what only a line of another program's file has: of ipsec.secrets ("address :
// PSK …"), of swanctl.conf ("secret = …"), or of a router's configuration ("ip nhrp authentication
// …").
var otherFile = regexp.MustCompile(`(?i)(?:^|\s):\s*(?:PSK|RSA|ECDSA|EAP|XAUTH|PIN)\b|^\s*(?:secret|psk|key|password)\s*=\s*\S|^\s*ip(?:v6)?\s+nhrp\s+authentication\s`)

// quotes lists the pairs of quotation marks, typographic ones included, that may enclose a secret.
var quotes = []struct{ open, close string }{
	{`"`, `"`}, {`'`, `'`}, {"`", "`"}, {"“", "”"}, {"„", "“"}, {"„", "”"}, {"”", "”"}, {"‘", "’"},
	{"‚", "‘"}, {"’", "’"},
	{"«", "»"}, {"»", "«"},
}

// LineFault returns a message if a secret, the content of the named file, is a line of another
// program's file; otherwise "". No router has such a line as its secret.
func LineFault(file string, secret []byte) string {
	if !otherFile.Match(secret) {
		return ""
	}
	return file + " holds a line of another program's file, such as ipsec.secrets or swanctl.conf; allowed is the secret alone, " +
		"without its owner, a keyword or quotes"
}

// NotationWarning returns a warning of characters that are part of a secret, the content of the
// named file, but were hardly meant to be; "": there are none. It does not show the secret.
func NotationWarning(file string, secret []byte) string {
	const asItStands = "it counts as part of the secret, so no router that has the secret without it can connect; "
	switch quoted := inQuotationMarks(secret); {
	case bytes.HasPrefix(secret, []byte("\ufeff")):
		return file + " begins with a byte order mark, which no editor shows: " + asItStands +
			"write the file again without it"
	case len(secret) != len(bytes.TrimSpace(secret)):
		return file + " has blanks before or after the secret: " + asItStands +
			"remove them unless they were meant"
	case quoted == typographicMarks:
		return file + " has typographic quotation marks around the secret, as word processors make them: " +
			asItStands + "write the secret without quotation marks"
	case quoted == plainMarks:
		return file + " has quotation marks around the secret: " + asItStands +
			"write it without them, unless all routers have them"
	}
	return ""
}

// EncodingWarning returns a warning if strongSwan's own files would decode a pre-shared key, the
// content of the named file; otherwise "". They decode 0x before hexadecimal digits and 0s before
// base64.
func EncodingWarning(file string, psk []byte) string {
	notation := ""
	if len(psk) > 2 && psk[0] == '0' {
		switch psk[1] {
		case 'x', 'X':
			if isHex(psk[2:]) {
				notation = "0x and hexadecimal digits"
			}
		case 's', 'S':
			if isBase64(string(psk[2:])) {
				notation = "0s and base64"
			}
		}
	}
	if notation == "" {
		return ""
	}
	return fmt.Sprintf("the key in %s reads like %s, which strongSwan's own files decode; here it is taken as it stands, character by character, "+
		"so a router that has the same text in swanctl.conf has another key; make one that does not begin like that: openssl rand -base64 32", file, notation)
}

func isHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

func isBase64(s string) bool {
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding} {
		if _, err := e.DecodeString(s); err == nil {
			return true
		}
	}
	return false
}

// The kinds of quotation marks that may enclose a secret.
const (
	noMarks = iota
	plainMarks
	typographicMarks
)

// inQuotationMarks returns the kind of quotation marks that enclose a secret.
func inQuotationMarks(secret []byte) int {
	for _, q := range quotes {
		if len(secret) >= len(q.open)+len(q.close) && bytes.HasPrefix(secret, []byte(q.open)) &&
			bytes.HasSuffix(secret, []byte(q.close)) {
			if utf8.RuneLen([]rune(q.open)[0]) > 1 {
				return typographicMarks
			}
			return plainMarks
		}
	}
	return noMarks
}
