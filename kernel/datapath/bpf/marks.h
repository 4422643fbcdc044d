// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/*
 * Peers behind one NAT address, each with SAs that have a mark of their own. Such a peer is named by the address 0.x.y.z whose low
 * 24 bits are the mark.
 */
#pragma once

#include "headers.h"

#ifndef BPF_F_NO_TUNNEL_KEY
#define BPF_F_NO_TUNNEL_KEY (1ULL << 4) /* Linux 6.3 */
#endif

#define MARK_BITS 0x00ffffffu

/* Whether the address is the name of a marked peer: nothing else is in 0.0.0.0/8. */
static __always_inline int is_marked(struct address *a)
{
	return !a->b[12];
}

/* Finds s->real of the marked peer s->peer. */
static __always_inline int find_real(struct scratch *s)
{
	struct address *real = bpf_map_lookup_elem(&marked, &s->peer);

	if (!real)
		return -1;
	s->real = *real;
	return 0;
}

/*
 * Names the sender by the mark that the inbound SA gave the packet. A mark counts only with the outer source that belongs to it:
 * the site may use marks of its own.
 */
static __always_inline int name_by_mark(struct __sk_buff *skb, struct scratch *s)
{
	__u32 mark = skb->mark;

	if (!mark || mark & ~MARK_BITS)
		return 0;
	map_ipv4(&s->peer, bpf_htonl(mark));
	if (find_real(s) || !same_address(&s->real, &s->flow.outer_source))
		return 0;
	s->flow.outer_source = s->peer;
	return 1;
}

/* Fills s->key for a packet to a marked peer, from its outer header and the tunnel's key. Returns the flags for it, or -1. */
static __always_inline long fill_key(struct __sk_buff *skb, struct scratch *s, struct way *way)
{
	__be32 local;
	__be16 gre;
	__u8 ttl;

	if (bpf_skb_load_bytes(skb, offsetof(struct iphdr, saddr), &local, 4) ||
	    bpf_skb_load_bytes(skb, offsetof(struct iphdr, ttl), &ttl, 1) ||
	    bpf_skb_load_bytes(skb, sizeof(struct iphdr), &gre, 2))
		return -1;
	__builtin_memset(&s->key, 0, sizeof(s->key));
	s->key.remote_ipv4 = bpf_ntohl(ipv4_of(&s->real));
	/* Not left to the route: the guard and the SAs are for this address only. */
	s->key.local_ipv4 = bpf_ntohl(local);
	s->key.tunnel_ttl = ttl;
	if (gre & GRE_KEY) {
		s->key.tunnel_id = way->key;
		return BPF_F_ZERO_CSUM_TX;
	}
	return BPF_F_ZERO_CSUM_TX | BPF_F_NO_TUNNEL_KEY;
}

/*
 * Sends a packet to a marked peer by way of the companion device, whose look-up of route and IPsec policy takes the mark (the gre
 * device's own does not). Don't fragment is not set: a packet too long for the underlay leaves as fragments of ESP, for the companion
 * has no way to tell the sender.
 */
static __always_inline int send_marked(struct __sk_buff *skb, struct scratch *s)
{
	__u32 zero = 0;
	struct way *way = bpf_map_lookup_elem(&ways, &zero);
	long flags;

	if (!way || !way->companion)
		goto drop;
	flags = fill_key(skb, s, way);
	if (flags < 0 || bpf_skb_set_tunnel_key(skb, &s->key, sizeof(s->key), flags))
		goto drop;
	skb->mark = bpf_ntohl(ipv4_of(&s->peer));
	return bpf_redirect(way->companion, 0);
drop:
	count(NO_WAY);
	return TC_ACT_SHOT;
}
