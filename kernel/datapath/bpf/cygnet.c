// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/*
 * What cygnetd does with each packet of an mGRE (gre, NBMA) device: at its ingress, data passes from admitted peers only, packets
 * that would leave by the tunnel again are sampled, and those that would loop are dropped; at its egress, peers that share an address
 * behind NAT get their packets through their own SAs. Both keep the times of the last data to and from each peer, and lower the
 * maximum segment size of TCP connections to what fits into the tunnel.
 *
 * The programs hang on the device's clsact qdisc. The device has no Ethernet header: what stands before the inner packet is the
 * outer IPv4 header with GRE behind it. At egress the device's header_ops has pushed it with the neighbour's address in it; at
 * ingress it is still there as the packet's link-layer header.
 *
 * What is not dropped or sent gets no verdict: TC_ACT_UNSPEC passes the packet on to the filters of others.
 *
 * Plain enough for the interpreter and for Linux 5.8 (ring buffer): no loops, no callbacks, no BTF of the kernel.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "admission.h"
#include "headers.h"
#include "links.h"
#include "maps.h"
#include "marks.h"
#include "mss.h"
#include "redirect.h"
#include "share.h"
#include "use.h"

/*
 * bpf_fib_lookup and bpf_ktime_get_ns are for programs with a GPL-compatible licence only. The kernel knows this name for the two
 * that the first line offers.
 */
char _license[] SEC("license") = "Dual BSD/GPL";

static __always_inline int refuse(__u32 reason)
{
	count(reason);
	return TC_ACT_SHOT;
}

/*
 * NHRP passes from everybody, with its mark, which tells the daemon the peer; but nobody may fill
 * the socket's buffer. A next hop server may: it passes on what others send.
 */
static __always_inline int take_nhrp(struct __sk_buff *skb, struct scratch *s)
{
	__u32 *flags;

	if (!s)
		return TC_ACT_UNSPEC;
	if (!handed_up(skb, s)) {
		if (read_outer(skb, offsetof(struct iphdr, saddr), &s->flow.outer_source))
			return TC_ACT_UNSPEC;
		name_by_mark(skb, s);
	}
	if (!nhrp_burst)
		return TC_ACT_UNSPEC;
	flags = bpf_map_lookup_elem(&admitted, &s->flow.outer_source);
	if (flags && *flags & ADMITTED_NHS)
		return TC_ACT_UNSPEC;
	return has_room(skb, &s->flow.outer_source) ? TC_ACT_UNSPEC : refuse(NHRP_FLOOD);
}

SEC("tc")
int cygnet_ingress(struct __sk_buff *skb)
{
	struct scratch *s = scratch_of(INGRESS);
	enum inner kind;
	int as, from_nhs, by_mark;

	if (skb->protocol == bpf_htons(ETH_P_NHRP))
		return take_nhrp(skb, s);
	if (!s)
		return admission ? refuse(NOT_ADMITTED) : TC_ACT_UNSPEC;
	if (handed_up(skb, s)) {
		by_mark = 0;
		skb->mark = 0;
	} else {
		if (read_outer(skb, offsetof(struct iphdr, saddr), &s->flow.outer_source))
			return admission ? refuse(NOT_ADMITTED) : TC_ACT_UNSPEC;
		by_mark = name_by_mark(skb, s);
		if (by_mark)
			skb->mark = 0; /* it would meet the site's own rules about marks */
	}
	if (in_vrf())
		skb->tc_index = FROM_TUNNEL;

	as = admitted_as(s, by_mark);
	if (admission && as < 0)
		return refuse(NOT_ADMITTED);
	from_nhs = as > 0 && as & ADMITTED_NHS;
	kind = read_inner(skb, s);
	if (source_check && !from_nhs && !source_belongs(skb, s, kind))
		return refuse(WRONG_SOURCE);
	if (kind == UNICAST || kind == LABELLED)
		note_use(&s->flow.outer_source, 0);
	if (kind != UNICAST)
		return TC_ACT_UNSPEC;
	lower_mss(skb, s);
	if (!sample && !from_nhs)
		return TC_ACT_UNSPEC;
	if (source_check && !from_nhs)
		read_inner(skb, s); /* the question was for the way back */
	return follow(skb, s, from_nhs);
}

SEC("tc")
int cygnet_egress(struct __sk_buff *skb)
{
	struct scratch *s = scratch_of(EGRESS);
	int verdict = TC_ACT_UNSPEC;
	enum inner kind;

	if (!s || read_outer(skb, offsetof(struct iphdr, daddr), &s->peer))
		return TC_ACT_UNSPEC;
	if (is_linked(&s->peer)) {
		struct link *link = bpf_map_lookup_elem(&links, &s->peer);

		if (!link)
			return refuse(NO_LINK);
		s->real = link->real;
		return send_linked(skb, s, link);
	}
	if (is_marked(&s->peer) && find_real(s))
		return refuse(NO_MARK);
	kind = read_inner(skb, s);
	if (kind == UNICAST || kind == LABELLED)
		note_use(&s->peer, 1);
	if (kind == UNICAST)
		lower_mss(skb, s);
	if (is_marked(&s->peer))
		verdict = send_marked(skb, s);
	if (verdict != TC_ACT_SHOT)
		note_sent(skb, is_marked(&s->peer) ? &s->real : &s->peer);
	return verdict;
}

/* At the companion's ingress: it would take in every GRE packet that no tunnel claims, and the host would answer. */
SEC("tc")
int cygnet_unclaimed(struct __sk_buff *skb)
{
	(void)skb;
	return refuse(UNCLAIMED);
}

/* At the ingress of each link: hands what arrives up to the tunnel, in its peer's name. Nothing else takes it. */
SEC("tc")
int cygnet_link(struct __sk_buff *skb)
{
	__u32 device = skb->ifindex;
	struct owner *owner = bpf_map_lookup_elem(&owners, &device);

	if (!owner)
		return refuse(NO_OWNER);
	skb->mark = owner->name;
	skb->tc_index = HANDED_UP;
	return bpf_redirect(owner->tunnel, BPF_F_INGRESS);
}

/* Run once without a packet to send. Returns what the kernel cannot do: 1 set the source of a tunnel key, 2 leave out the GRE key. */
SEC("tc")
int cygnet_probe(struct __sk_buff *skb)
{
	struct scratch *s = scratch_of(PROBE);

	if (!s)
		return 3;
	__builtin_memset(&s->key, 0, sizeof(s->key));
	return (bpf_skb_set_tunnel_key(skb, &s->key, sizeof(s->key), BPF_F_ZERO_CSUM_TX) ? 1 : 0) |
	       (bpf_skb_set_tunnel_key(skb, &s->key, sizeof(s->key), BPF_F_ZERO_CSUM_TX | BPF_F_NO_TUNNEL_KEY) ? 2 : 0);
}
