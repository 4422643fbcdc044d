// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/*
 * The maximum segment size that the first packets of a TCP connection tell each other (RFC 9293 §3.7.1): it is lowered to what fits
 * into the tunnel, so that connections need no ICMP about packets that are too long.
 */
#pragma once

#include "headers.h"

#define TCP_HEADER 20
#define TCP_CHECK 16 /* where the checksum is */
#define TCP_SYN 0x02
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2

#define GRE_CHECKSUM bpf_htons(0x8000)
#define GRE_SEQUENCE bpf_htons(0x1000)

/* How many bytes stand before the inner packet; -1: it is not known. */
static __always_inline int outer_length(struct __sk_buff *skb)
{
	__u8 first;
	__be16 gre;
	int length;

	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return -1;
	length = (first & 0xf) * 4;
	if (bpf_skb_load_bytes(skb, length, &gre, 2))
		return -1;
	return length + 4 + (gre & GRE_CHECKSUM ? 4 : 0) + (gre & GRE_KEY ? 4 : 0) + (gre & GRE_SEQUENCE ? 4 : 0);
}

/* Where the inner packet begins, for a program that writes; -1: not where the outer header says. */
static __always_inline int inner_offset(struct __sk_buff *skb)
{
	int outer = outer_length(skb);
	__u64 here, there;

	if (outer < 0 || bpf_skb_load_bytes(skb, outer, &here, 8) ||
	    bpf_skb_load_bytes_relative(skb, 0, &there, 8, BPF_HDR_START_NET))
		return -1;
	return here == there ? outer : -1;
}

/*
 * Finds the option with the maximum segment size among so many bytes of options, and leaves it in s->option; -1: there is none. The
 * place goes through memory so that the verifier takes every turn for the same. The compiler unrolls the loop: without CAP_PERFMON the
 * verifier follows what a processor would do speculatively, and there a loop has no end (6.1: the sequence of jumps is too complex).
 */
static __always_inline int find_mss(struct __sk_buff *skb, struct scratch *s, __u32 length)
{
	volatile __u32 *place = &s->place;
	__u32 i, at;

	*place = 0;
#pragma clang loop unroll(full)
	for (i = 0; i < TCP_OPTIONS; i++) {
		at = *place;
		if (at + 4 > length || bpf_skb_load_bytes_relative(skb, s->tcp + TCP_HEADER + at, s->option, 4, BPF_HDR_START_NET))
			return -1;
		switch (s->option[0]) {
		case OPTION_END:
			return -1;
		case OPTION_NOP:
			*place = at + 1;
			break;
		case OPTION_MSS:
			return s->option[1] == 4 ? (int)at : -1;
		default:
			if (s->option[1] < 2)
				return -1;
			*place = at + s->option[1];
		}
	}
	return -1;
}

/*
 * Lowers the maximum segment size of a SYN, with or without ACK. The checksum changes by the difference, which is right for a packet
 * whose checksum is complete; the helper leaves one alone that the device or the kernel completes later. The sum is over words from
 * the beginning of the header on, so the bytes of an option at an odd place count the other way round.
 */
static __always_inline void lower_mss(struct __sk_buff *skb, struct scratch *s)
{
	__u32 most = skb->protocol == bpf_htons(ETH_P_IPV6) ? mss_ipv6 : mss_ipv4;
	__be16 old, new;
	__u32 length, told;
	int at, tcp;
	__u8 head[2]; /* the header's length and the flags */

	if (!most || !s->tcp || bpf_skb_load_bytes_relative(skb, s->tcp + 12, head, 2, BPF_HDR_START_NET) || !(head[1] & TCP_SYN))
		return;
	length = (head[0] >> 4) * 4;
	if (length <= TCP_HEADER || bpf_skb_load_bytes_relative(skb, s->tcp + length - 1, head, 1, BPF_HDR_START_NET))
		return;
	at = find_mss(skb, s, length - TCP_HEADER);
	if (at < 0)
		return;
	told = (__u32)s->option[2] << 8 | s->option[3];
	if (told <= most)
		return;
	old = bpf_htons(told);
	new = bpf_htons(most);
	tcp = inner_offset(skb);
	if (tcp < 0)
		return;
	tcp += s->tcp;
	if (bpf_skb_store_bytes(skb, tcp + TCP_HEADER + at + 2, &new, 2, 0))
		return;
	if (at & 1) {
		old = __builtin_bswap16(old);
		new = __builtin_bswap16(new);
	}
	if (!bpf_l4_csum_replace(skb, tcp + TCP_CHECK, old, new, 2))
		count(MSS_LOWERED);
}
