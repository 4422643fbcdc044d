// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/* Reading the outer and the inner header of a packet at a gre device. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"

#define AF_INET 2
#define AF_INET6 10
#define ETH_P_NHRP 0x2001
#define GRE_KEY bpf_htons(0x2000)
#define MORE_FRAGMENTS 0x2000
#define FRAGMENT_OFFSET 0x1fff

/*
 * tc_index of what came in by a tunnel in a VRF. The kernel makes the VRF the device where such a packet came in, so that the programs
 * of kernel/multicast could not tell it from what comes out of the site. Nothing else of the kernel sets or clears tc_index on the way.
 */
#define FROM_TUNNEL 0x2001

static __always_inline void map_ipv4(struct address *to, __be32 from)
{
	__builtin_memset(to->b, 0, 10);
	__builtin_memset(to->b + 10, 0xff, 2);
	__builtin_memcpy(to->b + 12, &from, 4);
}

static __always_inline __be32 ipv4_of(struct address *a)
{
	__be32 address;

	__builtin_memcpy(&address, a->b + 12, 4);
	return address;
}

static __always_inline int same_address(struct address *a, struct address *b)
{
	__u32 *x = (__u32 *)a, *y = (__u32 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

static __always_inline int is_multicast(__be32 address)
{
	return (address & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000);
}

/* Reads one address of the outer IPv4 header. Fails when there is none or the address is not a peer's. */
static __always_inline int read_outer(struct __sk_buff *skb, __u32 offset, struct address *to)
{
	__u8 version, protocol;
	__be32 address;

	if (bpf_skb_load_bytes(skb, 0, &version, 1) || version >> 4 != 4)
		return -1;
	if (bpf_skb_load_bytes(skb, offsetof(struct iphdr, protocol), &protocol, 1) || protocol != IPPROTO_GRE)
		return -1;
	if (bpf_skb_load_bytes(skb, offset, &address, 4))
		return -1;
	if (!address || is_multicast(address))
		return -1;
	map_ipv4(to, address);
	return 0;
}

enum inner {
	UNICAST,   /* data between two routers' networks */
	MULTICAST, /* IP, to a group */
	LABELLED,  /* MPLS: data as well, but nothing behind the labels is read */
	OTHER,     /* other protocols, damaged headers */
};

/* Reads the inner header: the flow's ends, the query for its route, the length. */
static __always_inline enum inner read_inner(struct __sk_buff *skb, struct scratch *s)
{
	__builtin_memset(&s->route, 0, sizeof(s->route));
	s->tcp = 0;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) || ip.version != 4)
			return OTHER;
		map_ipv4(&s->flow.source, ip.saddr);
		map_ipv4(&s->flow.destination, ip.daddr);
		s->route.family = AF_INET;
		s->route.l4_protocol = ip.protocol;
		s->route.tos = ip.tos;
		s->route.ipv4_src = ip.saddr;
		s->route.ipv4_dst = ip.daddr;
		s->length = bpf_ntohs(ip.tot_len);
		if (s->length < sizeof(ip))
			return OTHER;
		if (ip.protocol == IPPROTO_TCP && !(ip.frag_off & bpf_htons(MORE_FRAGMENTS | FRAGMENT_OFFSET)))
			s->tcp = ip.ihl * 4;
		return is_multicast(ip.daddr) ? MULTICAST : UNICAST;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) || ip.version != 6)
			return OTHER;
		__builtin_memcpy(&s->flow.source, &ip.saddr, 16);
		__builtin_memcpy(&s->flow.destination, &ip.daddr, 16);
		s->route.family = AF_INET6;
		s->route.l4_protocol = ip.nexthdr;
		s->route.flowinfo = *(__be32 *)&ip & bpf_htonl(0x0fffffff);
		__builtin_memcpy(s->route.ipv6_src, &ip.saddr, 16);
		__builtin_memcpy(s->route.ipv6_dst, &ip.daddr, 16);
		s->length = sizeof(ip) + bpf_ntohs(ip.payload_len);
		if (ip.nexthdr == IPPROTO_TCP)
			s->tcp = sizeof(ip);
		return ip.daddr.in6_u.u6_addr8[0] == 0xff ? MULTICAST : UNICAST;
	}
	return skb->protocol == bpf_htons(ETH_P_MPLS_UC) ? LABELLED : OTHER;
}
