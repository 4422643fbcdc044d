// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/* What the kernel would do with an inner address. */
#pragma once

#include "headers.h"
#include "maps.h"

enum way_of { ELSEWHERE, TUNNEL, TUNNEL_TO_PEER };

/*
 * How the kernel has to look a way up. For a tunnel in a VRF, the look-up by the rules finds the main table in place of the VRF's
 * (Linux 6.1, for both families); the direct one finds the VRF's, and leaves the rules out.
 */
static __always_inline __u32 look_up_flags(void)
{
	return in_vrf() ? BPF_FIB_LOOKUP_DIRECT : 0;
}

/*
 * Looks up the way that s->route asks for. TUNNEL: it leads out of the device that the packet came in on, and the next hop's
 * neighbour entry is missing. TUNNEL_TO_PEER: the entry is there, and s->peer is its link-layer address.
 */
static __always_inline enum way_of look_up(struct __sk_buff *skb, struct scratch *s)
{
	__be32 next_hop;
	long result;

	s->route.ifindex = skb->ifindex;
	result = bpf_fib_lookup(skb, &s->route, sizeof(s->route), look_up_flags());
	if (result == BPF_FIB_LKUP_RET_NO_NEIGH)
		/* Before Linux 5.12 ifindex is not the answer then, but still the question. */
		return tells_device && s->route.ifindex == skb->ifindex ? TUNNEL : ELSEWHERE;
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return ELSEWHERE;
	if (s->route.ifindex != skb->ifindex)
		return ELSEWHERE;
	__builtin_memcpy(&next_hop, s->route.dmac, 4);
	map_ipv4(&s->peer, next_hop);
	return TUNNEL_TO_PEER;
}
