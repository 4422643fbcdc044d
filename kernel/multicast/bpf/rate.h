// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/* How much of what is sent to groups is replicated: each copy takes as much of the uplink again. */
#pragma once

#include "maps.h"

static __always_inline __u64 later(__u64 a, __u64 b)
{
	return a > b ? a : b;
}

/*
 * Takes the packet from its share of the rate, and reports whether there was room. A packet that finds no room takes nothing. Cores
 * that race may take a little too much.
 */
static __always_inline int has_room(struct __sk_buff *skb, __u32 share)
{
	struct bucket *b = bpf_map_lookup_elem(&buckets, &share);
	__u64 now, packets, bytes, segments = skb->gso_segs;

	if (!packet_cost && !byte_cost)
		return 1;
	if (!b)
		return 0;
	now = bpf_ktime_get_ns();
	packets = later(b->packets, now);
	bytes = later(b->bytes, now);
	if (packets - now > packet_burst || bytes - now > byte_burst)
		return 0;
	b->packets = packets + packet_cost * (segments ? segments : 1);
	b->bytes = bytes + byte_cost * skb->len;
	return 1;
}
