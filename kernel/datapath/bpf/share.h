// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/*
 * What one outer source, or one marked peer, may take of what all share: samples of packets to
 * redirect, and room in the NHRP socket's receive buffer. The table of shares forgets the source
 * that was quiet for longest when it is full. Whoever is forgotten starts with a full share, so
 * that many sources at a time (which an SA each proves) can take more, but none takes it from one
 * that the table knows.
 */
#pragma once

#include "maps.h"

/*
 * Takes the cost from a share: due is when everything taken is paid for, and may be this far
 * ahead. Cores that race may take a little too much.
 */
static __always_inline int take(__u64 *due, __u64 now, __u64 cost, __u64 ahead)
{
	__u64 from = *due;

	if (from < now)
		from = now;
	if (from - now > ahead)
		return 0;
	*due = from + cost;
	return 1;
}

static __always_inline struct share *share_of(struct address *source)
{
	struct share *share = bpf_map_lookup_elem(&shares, source);

	if (!share) {
		struct share full = {};

		bpf_map_update_elem(&shares, source, &full, BPF_NOEXIST);
		share = bpf_map_lookup_elem(&shares, source);
	}
	return share;
}

/* Reports whether the source may have one more sample. */
static __always_inline int has_sample(struct address *source, __u64 now)
{
	struct share *share = share_of(source);

	return share && take(&share->samples, now, SECOND / per_source, SECOND);
}

/*
 * Reports whether the source may have one more NHRP packet in the socket's buffer, which is
 * charged with the packet's memory: more than its bytes.
 */
static __always_inline int has_room(struct __sk_buff *skb, struct address *source)
{
	struct share *share = share_of(source);
	__u64 cost = ((__u64)skb->len + NHRP_OVERHEAD) * nhrp_byte;

	return !share || take(&share->nhrp, bpf_ktime_get_ns(), cost, nhrp_burst);
}
