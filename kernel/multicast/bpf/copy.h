// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/* Sending one copy. */
#pragma once

#include <linux/errno.h>

#include <bpf/bpf_endian.h>

#include "maps.h"

#ifndef BPF_F_NO_TUNNEL_KEY
#define BPF_F_NO_TUNNEL_KEY (1ULL << 4) /* Linux 6.3 */
#endif

/*
 * Sends a copy to the peer at a place of the lists, by the companion device, whose look-up of route and IPsec policy takes the mark.
 * The mark is set for each peer, since the packet may have one of its sender's. A function of its own, since a program calls it
 * hundreds of times.
 */
static __noinline void copy_to(struct __sk_buff *skb, struct scratch *s, __u32 place)
{
	struct peer *peer = bpf_map_lookup_elem(&lists, &place);
	__be32 remote;
	long result;

	if (!peer) {
		count(NO_PEER, 1);
		return;
	}
	s->peer = peer->address;
	if (peer->link) {
		skb->mark = 0;
		result = bpf_clone_redirect(skb, peer->link, 0);
		goto sent;
	}
	__builtin_memcpy(&remote, peer->address.b + 12, 4);
	s->key.remote_ipv4 = bpf_ntohl(remote);
	if (bpf_skb_set_tunnel_key(skb, &s->key, sizeof(s->key), s->flags)) {
		count(NO_KEY, 1);
		return;
	}
	skb->mark = peer->mark;
	result = bpf_clone_redirect(skb, s->device, 0);
sent:
	if (result == -EINVAL || result == -ENOMEM) {
		count(result == -EINVAL ? NO_DEVICE : NO_MEMORY, 1);
		return;
	}
	/* The device had it: its counters show what it refuses. */
	note_sent(skb, &s->peer);
	if (result)
		count(REFUSED, 1);
	else
		s->copies++;
}
