// Package packet encodes and decodes NHRP's wire format (RFC 2332 §5) and what DMVPN adds to it.
//
// Integers are big endian. N is the length of an NBMA address (4 or 16, by the address family).
// P is the length of an overlay address (4 or 16, by the protocol type). S is the length of a
// subaddress. Every address may also be absent; its length is then 0.
//
// Fixed header:
//
//	offset  bytes
//	0x00    2      address family of NBMA addresses: 1 IPv4, 2 IPv6
//	0x02    2      protocol type of overlay addresses: 0x0800 IPv4, 0x86dd IPv6
//	0x04    5      SNAP, 0
//	0x09    1      hop count
//	0x0a    2      packet size, without link layer and padding
//	0x0c    2      checksum over the packet size's bytes
//	0x0e    2      extension offset; 0: no extensions part
//	0x10    1      version, 1
//	0x11    1      message type
//	0x12    1      length N of the source NBMA address; 0x40 is its format (0)
//	0x13    1      length S of the source NBMA subaddress; 0x40 is its format (0)
//
// Mandatory part, up to the extension offset or, where that is 0, to the packet's end:
//
//	0x14    1      length P of the source protocol address
//	0x15    1      length P of the destination protocol address
//	0x16    2      flags; unused in indications
//	0x18    4      request ID
//	               Error Indication: 2 error code, 2 error offset
//	               Traffic Indication: 2 code (0), 2 unused
//	0x1c    N      source NBMA address
//	        S      source NBMA subaddress
//	        P      source protocol address
//	        P      destination protocol address
//	        ...    requests and replies: client information entries (CIE)
//	               indications: the packet they are about, or the first bytes of it
//
// Client information entry:
//
//	0x00    1      code
//	0x01    1      prefix length
//	0x02    2      unused
//	0x04    2      maximum transmission unit
//	0x06    2      holding time, seconds
//	0x08    1      length N of the client NBMA address
//	0x09    1      length S of the client NBMA subaddress
//	0x0a    1      length P of the client protocol address
//	0x0b    1      preference
//	0x0c    N      client NBMA address
//	        S      client NBMA subaddress
//	        P      client protocol address
//
// Extension, any number of them, the last one being End (0x8000, length 0):
//
//	0x00    2      0x8000 compulsory, 0x4000 unused, 0x3fff type
//	0x02    2      length of the value
//	0x04    ...    value: CIEs in the types 3, 4, 5 and 9, else opaque
//
// Value of our vendor-private extension (type 8, without the compulsory bit):
//
//	0x00    3      vendor, 02 43 59 (locally administered)
//	0x03    1      kind, in the request and in the reply to it:
//	               1, 2 the sender probes paths, and answers probes
//	               3, 4 the packet is a probe, and the answer to one
//	               5, 6 neither of that
//	0x04    ...    kinds 3 and 4: zeros, so that the packet has the size that is to be proven
//	               others: nothing, or an NBMA address of the sender (4 or 16 bytes) that is of
//	               another IP version than those in the rest of the packet
//
// A Registration Request and a Resolution Request have the other address of the requester, the
// reply to a Resolution Request that of the responder. The rest of a packet has NBMA addresses of
// one IP version only.
package packet
