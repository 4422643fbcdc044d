// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/* Which packets go to a group, and which groups pass. */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>

#include "maps.h"

#define ROUTER_SOLICITATION 133
#define REDIRECT 137

enum kind {
	OTHER,     /* to one address, or no IP */
	GROUP,     /* to a group */
	DISCOVERY, /* to a group, neighbour discovery: it concerns the sender's link only, and the tunnel resolves by NHRP */
};

/*
 * Reports whether the packet's sender addressed it to one peer: by a packet socket, or by a neighbour entry for the group. Whatever
 * else the outer destination is, a group (IPv4 maps the inner group) or the device's broadcast address (IPv6 needs it), nobody is
 * there: the packet goes to all peers, or nowhere.
 */
static __always_inline int is_for_one(struct __sk_buff *skb)
{
	__u8 outer;

	return bpf_skb_load_bytes(skb, offsetof(struct iphdr, daddr), &outer, 1) || outer < 224;
}

/* Reads the inner header: the group and the type of service. */
static __always_inline enum kind read_group(struct __sk_buff *skb, struct scratch *s)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) || ip.version != 4)
			return OTHER;
		if ((ip.daddr & bpf_htonl(0xf0000000)) != bpf_htonl(0xe0000000))
			return OTHER;
		map_ipv4(&s->group, ip.daddr);
		s->tos = ip.tos;
		return GROUP;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;
		__u8 type;

		if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) || ip.version != 6)
			return OTHER;
		if (ip.daddr.in6_u.u6_addr8[0] != 0xff)
			return OTHER;
		__builtin_memcpy(&s->group, &ip.daddr, 16);
		s->tos = bpf_ntohl(*(__be32 *)&ip) >> 20 & 0xff;
		if (ip.nexthdr != IPPROTO_ICMPV6)
			return GROUP;
		if (bpf_skb_load_bytes_relative(skb, sizeof(ip), &type, 1, BPF_HDR_START_NET))
			return GROUP;
		return type >= ROUTER_SOLICITATION && type <= REDIRECT ? DISCOVERY : GROUP;
	}
	return OTHER;
}

static __always_inline int is_ipv4(struct address *a)
{
	__u32 *x = (__u32 *)a;

	return !x[0] && !x[1] && x[2] == bpf_htonl(0xffff);
}

/* Whether the group is of the link: 224.0.0.0/24, ff02::/16. No router forwards to it. */
static __always_inline int is_control(struct address *group)
{
	if (is_ipv4(group))
		return group->b[12] == 224 && !group->b[13] && !group->b[14];
	return (group->b[1] & 0xf) == 2;
}

/* Whether the configuration lets packets to the group pass. */
static __always_inline int is_allowed(struct address *group)
{
	__u32 zero = 0, i, passes, *g = (__u32 *)group;
	volatile struct rules *rules = bpf_map_lookup_elem(&groups, &zero);

	if (!rules)
		return 0;
#pragma clang loop unroll(full)
	for (i = 0; i < RULES; i++) {
		volatile struct rule *r = &rules->rule[i];

		/* Read first: without CAP_PERFMON the verifier refuses a pointer that a comparison chose. */
		passes = r->passes;
		if (!((g[0] ^ r->address[0]) & r->mask[0]) && !((g[1] ^ r->address[1]) & r->mask[1]) &&
		    !((g[2] ^ r->address[2]) & r->mask[2]) && !((g[3] ^ r->address[3]) & r->mask[3]))
			return passes;
	}
	return 0;
}
