package swanctl

import (
	"slices"
	"strconv"
	"strings"
)

// ESPSize is what the algorithms of an SA add to each packet, besides ESP's header of 8 bytes and
// its trailer of 2 (RFC 4303 §2).
type ESPSize struct {
	IV    int // bytes of the initialization vector
	Align int // the trailer ends at a multiple of so many bytes: the cipher's block, at least 4
	ICV   int // bytes of the integrity check value
}

// largest is what the algorithms add at most that strongSwan and Linux have for ESP. It stands for
// keywords that this package does not know, and for "default".
var largest = ESPSize{IV: 16, Align: 16, ICV: 32}

// ESPSizes returns what SAs of these proposals may add to a packet: an element for each algorithm
// or pair of algorithms that charon may choose. A proposal that names none of which the size is
// known, such as "default", counts as the largest.
func ESPSizes(proposals []string) []ESPSize {
	var all []ESPSize
	for _, p := range proposals {
		all = append(all, espSizes(p)...)
	}
	if len(all) == 0 {
		return []ESPSize{largest}
	}
	return all
}

// espSizes returns the sizes of one proposal, which may have several ciphers and several integrity
// algorithms: charon chooses one of each.
func espSizes(proposal string) []ESPSize {
	var ciphers, combined []ESPSize
	icv := -1
	for _, word := range keywords(proposal) {
		if size, ok := cipherSize(word); ok && size.ICV > 0 {
			combined = append(combined, size)
		} else if ok {
			ciphers = append(ciphers, size)
		} else if n, ok := icvSizes[word]; ok {
			icv = max(icv, n)
		}
	}
	if len(ciphers) > 0 && icv < 0 {
		icv = largest.ICV
	}
	for i := range ciphers {
		ciphers[i].ICV = icv
	}
	if len(ciphers)+len(combined) == 0 {
		return []ESPSize{largest}
	}
	return slices.Concat(combined, ciphers)
}

// icvSizes has the bytes of the integrity check value of each integrity algorithm in strongSwan's
// notation (RFC 2403, RFC 2404, RFC 3566, RFC 4494, RFC 4595, RFC 4868).
var icvSizes = map[string]int{
	"md5": 12, "md5_128": 16, "sha": 12, "sha1": 12, "sha1_160": 20, "aesxcbc": 12, "aescmac": 12,
	"sha256": 16, "sha2_256": 16, "sha256_96": 12, "sha2_256_96": 12,
	"sha384": 24, "sha2_384": 24, "sha512": 32, "sha2_512": 32,
}

// cipherSize returns the size of a cipher in strongSwan's notation. The ICV is 0 unless the cipher
// checks the integrity itself. It returns false for any other keyword.
func cipherSize(word string) (ESPSize, bool) {
	switch {
	case word == "3des" || word == "des" || strings.HasPrefix(word, "blowfish"),
		strings.HasPrefix(word, "cast"):
		return ESPSize{IV: 8, Align: 8}, true
	case word == "null":
		return ESPSize{Align: 4}, true
	case word == "chacha20poly1305":
		return ESPSize{IV: 8, Align: 4, ICV: 16}, true
	}
	block, mode := "", ""
	for _, name := range []string{"aes", "camellia", "serpent", "twofish"} {
		if rest, ok := strings.CutPrefix(word, name); ok {
			block, mode = name, strings.TrimLeft(rest, "0123456789")
		}
	}
	switch {
	case block == "" || word == "aesxcbc" || word == "aescmac":
		return ESPSize{}, false
	case mode == "":
		return ESPSize{IV: 16, Align: 16}, true // CBC
	case mode == "ctr":
		return ESPSize{IV: 8, Align: 4}, true
	}
	for _, name := range []string{"gcm", "ccm", "gmac"} {
		if length, ok := strings.CutPrefix(mode, name); ok {
			return ESPSize{IV: 8, Align: 4, ICV: combinedICV(length)}, true
		}
	}
	return ESPSize{}, false
}

// combinedICV returns the bytes of the integrity check value of a combined mode, by the number at
// the end of its keyword: bytes (aes128gcm8), bits (aes128gcm64), or nothing for 16 bytes.
func combinedICV(text string) int {
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 16
	case n > 16:
		return n / 8
	}
	return n
}
