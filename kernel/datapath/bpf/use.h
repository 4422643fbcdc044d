// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/* When data last went to and came from each peer. */
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
