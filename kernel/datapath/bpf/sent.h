// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/* How much left for each peer. The programs of kernel/multicast count their copies in the same table. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* IPv4 addresses are mapped (::ffff:a.b.c.d). */
struct address {
	__u8 b[16];
} __attribute__((aligned(4)));

/* What the tunnel sent to an address, as the world sees it: NHRP and multicast to that peer included. */
struct sent {
	__u64 packets;  /* as the device gets them: several segments of a TCP flow may be one */
	__u64 segments; /* as they leave */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct address);
	__type(value, struct sent);
} sent_to SEC(".maps");

/* Counts a packet that is about to leave for a peer, by the address that the world sees of it. */
static __always_inline void note_sent(struct __sk_buff *skb, struct address *peer)
{
	struct sent *sent = bpf_map_lookup_elem(&sent_to, peer);
	__u64 segments = skb->gso_segs;

	if (!sent) {
		struct sent none = {};

		bpf_map_update_elem(&sent_to, peer, &none, BPF_NOEXIST);
		sent = bpf_map_lookup_elem(&sent_to, peer);
		if (!sent)
			return;
	}
	__sync_fetch_and_add(&sent->packets, 1);
	__sync_fetch_and_add(&sent->segments, segments ? segments : 1);
}
