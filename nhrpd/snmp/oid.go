package snmp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// mostNumbers is how many numbers an object identifier has at most (RFC 2578 §3.5).
const mostNumbers = 128

// OID is an object identifier.
type OID []uint32

// ParseOID reads an object identifier in the form .1.3.6.1. The first dot may be missing.
func ParseOID(s string) (OID, error) {
	words := strings.SplitN(strings.TrimPrefix(s, "."), ".", mostNumbers+1)
	if len(words) > mostNumbers {
		return nil, fmt.Errorf("an object identifier has more than %d numbers", mostNumbers)
	}
	oid := make(OID, len(words))
	for i, word := range words {
		n, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read the object identifier %.40q: %w", s, err)
		}
		oid[i] = uint32(n)
	}
	return oid, nil
}

// String returns the identifier in the form .1.3.6.1.
func (o OID) String() string {
	text := make([]byte, 0, 4*len(o))
	for _, n := range o {
		text = strconv.AppendUint(append(text, '.'), uint64(n), 10)
	}
	return string(text)
}

// with returns the identifier followed by more numbers, in memory of its own.
func (o OID) with(more ...uint32) OID { return append(o[:len(o):len(o)], more...) }

// key returns a string for comparisons: keys sort as SNMP sorts their identifiers, and the key of
// an identifier begins with the key of what the identifier begins with.
func (o OID) key() string {
	k := make([]byte, 0, 4*len(o))
	for _, n := range o {
		k = binary.BigEndian.AppendUint32(k, n)
	}
	return string(k)
}

// address returns an address as a part of an index: the number of its bytes, and each of them.
func address(a netip.Addr) OID {
	bytes := a.AsSlice()
	oid := make(OID, 0, 1+len(bytes))
	oid = append(oid, uint32(len(bytes)))
	for _, b := range bytes {
		oid = append(oid, uint32(b))
	}
	return oid
}
