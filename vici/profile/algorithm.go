package profile

import (
	"regexp"
	"strings"
)

// aes and modp are the families of strongSwan's proposal keywords that have a number in them.
var (
	aes  = regexp.MustCompile(`^aes(128|192|256)?(?:(gcm|ccm)(8|12|16|64|96|128)?|(ctr))?$`)
	modp = regexp.MustCompile(`^(modp|ecp)(\d+)$`)
)

// icv maps the length of the integrity check value in a keyword, in bytes or in bits, to bytes.
var icv = map[string]string{"": "16", "8": "8", "12": "12", "16": "16", "64": "8", "96": "12",
	"128": "16"}

// cipherOf returns the name that charon's lists have for a cipher, from its keyword in a proposal:
// AES_GCM_16-256 for "aes256gcm16". It returns "" for other keywords and for ciphers not known
// here.
func cipherOf(keyword string) string {
	switch keyword {
	case "chacha20poly1305":
		return "CHACHA20_POLY1305"
	case "3des":
		return "3DES_CBC"
	case "null":
		return "NULL"
	}
	m := aes.FindStringSubmatch(keyword)
	if m == nil {
		return ""
	}
	size := m[1]
	if size == "" {
		size = "128"
	}
	switch {
	case m[2] != "":
		return "AES_" + strings.ToUpper(m[2]) + "_" + icv[m[3]] + "-" + size
	case m[4] != "":
		return "AES_CTR-" + size
	}
	return "AES_CBC-" + size
}

// groupOf returns the name that charon's lists have for a key exchange, from its keyword in a
// proposal; "" for other keywords.
func groupOf(keyword string) string {
	switch keyword {
	case "x25519", "curve25519":
		return "CURVE_25519"
	case "x448", "curve448":
		return "CURVE_448"
	}
	if m := modp.FindStringSubmatch(keyword); m != nil {
		return strings.ToUpper(m[1]) + "_" + m[2]
	}
	return ""
}

// named returns the names of all keywords in proposals that name knows. It returns nil if a
// proposal has no such keyword, like "default": then anything may be negotiated.
func named(proposals []string, name func(keyword string) string) map[string]bool {
	names := map[string]bool{}
	for _, proposal := range proposals {
		found := false
		for keyword := range strings.SplitSeq(strings.TrimSpace(proposal), "-") {
			if n := name(keyword); n != "" {
				names[n], found = true, true
			}
		}
		if !found {
			return nil
		}
	}
	if len(names) == 0 {
		return nil
	}
	return names
}
