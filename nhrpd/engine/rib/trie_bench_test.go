package rib

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
)

// manyRoutes is like a full Internet table: four in five are IPv4, most of them /24, the others /48
// and shorter, over 200 next hops.
func manyRoutes(n int) []Route {
	rnd := rand.New(rand.NewPCG(1, 2))
	seen := make(map[netip.Prefix]bool, n)
	routes := make([]Route, 0, n)
	for len(routes) < n {
		var p netip.Prefix
		if rnd.IntN(5) > 0 {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], rnd.Uint32()%0xe0000000)
			p = netip.PrefixFrom(netip.AddrFrom4(b), 24-max(0, rnd.IntN(16)-8))
		} else {
			var b [16]byte
			binary.BigEndian.PutUint64(b[:], 0x2000_0000_0000_0000|rnd.Uint64()>>3)
			p = netip.PrefixFrom(netip.AddrFrom16(b), 48-max(0, rnd.IntN(32)-16))
		}
		p = p.Masked()
		if seen[p] {
			continue
		}
		seen[p] = true
		hop := rnd.IntN(200)
		routes = append(routes, Route{
			Prefix:  p,
			NextHop: netip.AddrFrom4([4]byte{10, 255, 0, byte(hop)}),
			Device:  fmt.Sprintf("gre%d", hop%4),
		})
	}
	return routes
}

func BenchmarkTrieFill1M(b *testing.B) {
	routes := manyRoutes(1_000_000)
	b.ReportAllocs()
	var before, after runtime.MemStats
	var table *Trie
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		table = tableOf(routes...)
		runtime.GC()
		runtime.ReadMemStats(&after)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(table.Len()), "B/route")
}

func BenchmarkTrie1M(b *testing.B) {
	routes := manyRoutes(1_000_000)
	table := tableOf(routes...)
	bench := func(name string, f func(r Route)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				f(routes[i*7919%len(routes)])
			}
		})
	}
	bench("lookup", func(r Route) { table.Lookup(r.Prefix.Addr()) })
	bench("widest", func(r Route) {
		a := r.Prefix.Addr()
		table.Widest(a, netip.PrefixFrom(a, 0))
	})
	bench("replace", func(r Route) {
		table.Remove(r)
		table.Add(r)
	})
	bench("inside", func(r Route) {
		for range table.Inside(r.Prefix) {
		}
	})
}
