// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/*
 * Peers at an IPv6 address. Linux has no GRE device over IPv6 that works with many peers: one without a remote address transmits
 * nothing, and one in external mode asks for the IPsec policy without a source address. So each of these peers has a point-to-point
 * ip6gre device of its own, its link. The tunnel's neighbours name the peer by an address of 0.254.0.0/16: packets for that name go
 * to the link, and what arrives by the link is handed up to the tunnel with the name as the packet's mark.
 */
#pragma once

#include "headers.h"
#include "use.h"

/*
 * In skb->tc_index of a packet that a link handed up: the mark alone would not do, since the site may mark what arrives in other
 * ways. Nothing but programs at tc writes this field on the way.
 */
#define HANDED_UP 0xc19e
#define NAME_BITS 0xffff0000u
#define NAMES 0x00fe0000u /* 0.254.0.0/16 */

/* Whether a mark is the name of a linked peer. */
static __always_inline int is_name(__u32 mark)
{
	return (mark & NAME_BITS) == NAMES;
}

/* Whether an address is such a name. */
static __always_inline int is_linked(struct address *a)
{
	return is_name(bpf_ntohl(ipv4_of(a)));
}

/*
 * Whether the packet was handed up by a link: it then has no outer header any more, and its sender is s->flow.outer_source. A
 * packet that came in another way loses a mark that is a name, or the daemon would take it for that peer's.
 */
static __always_inline int handed_up(struct __sk_buff *skb, struct scratch *s)
{
	if (!is_name(skb->mark))
		return 0;
	if (skb->tc_index != HANDED_UP) {
		skb->mark = 0;
		return 0;
	}
	skb->tc_index = 0;
	map_ipv4(&s->flow.outer_source, bpf_htonl(skb->mark));
	return 1;
}

/* Sends a packet to the linked peer s->peer. The kernel takes the outer IPv4 header off on the way to the link. */
static __always_inline int send_linked(struct __sk_buff *skb, struct scratch *s, struct link *link)
{
	if (read_inner(skb, s) == UNICAST)
		note_use(&s->peer, 1);
	note_sent(skb, &s->real);
	return bpf_redirect(link->device, 0);
}
