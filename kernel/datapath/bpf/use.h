// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/* When data last went to and came from each peer, and how much left for it. */
#pragma once

#include "maps.h"

static __always_inline void note_use(struct address *peer, int out)
{
	__u64 now = bpf_ktime_get_ns();
	struct use *use = bpf_map_lookup_elem(&peers, peer);

	if (!use) {
		struct use never = {};

		bpf_map_update_elem(&peers, peer, &never, BPF_NOEXIST);
		use = bpf_map_lookup_elem(&peers, peer);
		if (!use)
			return;
	}
	if (out)
		use->out = now;
	else
		use->in = now;
}

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
