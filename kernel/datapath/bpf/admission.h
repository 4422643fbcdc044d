// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/* Who may send data, and from which inner sources. */
#pragma once

#include "headers.h"
#include "way.h"

/* What the sender s->flow.outer_source is admitted as; -1: it is not. A marked one may be so by the address that it shares. */
static __always_inline int admitted_as(struct scratch *s, int by_mark)
{
	__u32 *flags = bpf_map_lookup_elem(&admitted, &s->flow.outer_source);

	if (flags)
		return *flags;
	if (!by_mark)
		return -1;
	flags = bpf_map_lookup_elem(&admitted, &s->real);
	return flags && *flags & ADMITTED_SHARED ? 0 : -1;
}

static __always_inline int is_link_local(__be32 first)
{
	return (first & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline int is_group(__be32 first)
{
	return (first & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

/* Makes the query for the way to the packet's destination the one for the way back to its source. */
static __always_inline void ask_back(struct scratch *s)
{
	__u8 family = s->route.family, protocol = s->route.l4_protocol;
	__u32 source[4], destination[4];

	__builtin_memcpy(source, s->route.ipv6_src, 16);
	__builtin_memcpy(destination, s->route.ipv6_dst, 16);
	__builtin_memset(&s->route, 0, sizeof(s->route));
	s->route.family = family;
	s->route.l4_protocol = protocol;
	__builtin_memcpy(s->route.ipv6_dst, source, 16);
	/* The kernel looks up nothing that comes from a group or a link-local address. */
	if (family != AF_INET6 || !(is_group(destination[0]) || is_link_local(destination[0])))
		__builtin_memcpy(s->route.ipv6_src, destination, 16);
}

/*
 * Puts the overlay address to which a link-local source belongs in the place of that source, since no route leads back to a
 * link-local address. Fails where none belongs to it.
 */
static __always_inline int name_router(struct scratch *s)
{
	__u64 prefix = overlay_prefix;

	if (!prefix)
		return -1;
	__builtin_memcpy(s->route.ipv6_src, &prefix, 8);
	return 0;
}

/*
 * Whether the way back to the inner source leads to the peer that sent the packet. On a router with next hop servers it may lead to
 * one of them as well, since the shortcut back may not be there yet. It changes s->route: the answer is for the way back.
 */
static __always_inline int source_belongs(struct __sk_buff *skb, struct scratch *s, enum inner kind)
{
	__u32 *flags;

	if (kind == LABELLED || kind == OTHER)
		return 0;
	if (s->route.family == AF_INET6 && is_link_local(s->route.ipv6_src[0]) && name_router(s))
		return 1;
	ask_back(s);
	switch (look_up(skb, s)) {
	case TUNNEL:
		return client;
	case TUNNEL_TO_PEER:
		if (same_address(&s->peer, &s->flow.outer_source))
			return 1;
		flags = bpf_map_lookup_elem(&admitted, &s->peer);
		return flags && *flags & ADMITTED_NHS;
	default:
		return 0;
	}
}
