package swanctl

import (
	"slices"
	"strings"
)

// Readable reports whether a proposal in strongSwan's notation leaves packets readable, because it
// only protects them from changes: by null encryption or AES-GMAC.
func Readable(proposal string) bool {
	return slices.ContainsFunc(keywords(proposal), func(word string) bool {
		return word == "null" || strings.HasPrefix(word, "aes") && strings.HasSuffix(word, "gmac")
	})
}

// weak lists keywords of algorithms that are broken, or whose keys are short enough for a
// well-equipped attacker.
var weak = []string{
	"des", "3des", "md5", "md5_128", "prfmd5", "modp768", "modp1024", "modp1024s160",
}

// Weak returns the algorithms of a proposal that should no longer be used, as the proposal names
// them: DES and 3DES, MD5, and Diffie-Hellman groups of 1024 bits or less.
func Weak(proposal string) []string {
	return slices.DeleteFunc(keywords(proposal), func(word string) bool {
		_, word = additional(word)
		return !slices.Contains(weak, word)
	})
}

// additional splits off the number of an additional key exchange (ke1_modp1024).
func additional(word string) (number, algorithm string) {
	if number, algorithm, ok := strings.Cut(word, "_"); ok && len(number) == 3 &&
		strings.HasPrefix(number, "ke") {
		return number, algorithm
	}
	return "", word
}

func keywords(proposal string) []string { return strings.Split(strings.ToLower(proposal), "-") }

// proposals checks the algorithms in a key that holds a list of proposals.
func (k *check) proposals(s *Section, name string) {
	key, ok := s.key(name)
	if !ok {
		return
	}
	for _, proposal := range key.List {
		if Readable(proposal) {
			k.problem(key.At, key.Name, "found %s, which leaves everything readable; remove it",
				quote(proposal))
		}
		if found := Weak(proposal); len(found) > 0 {
			k.warn(key.At, key.Name, "found %s, and %s can be broken; use others", quote(proposal),
				strings.Join(found, ", "))
		}
	}
}
