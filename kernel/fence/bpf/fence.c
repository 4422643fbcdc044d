// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/*
 * The fence drops clear GRE from and to the local addresses of protected tunnels at the clsact qdisc
 * of the devices that lead to peers. GRE that IPsec protects never shows there (measured on Linux
 * 6.1): it leaves as ESP, and what a transport-mode SA took out of ESP does not pass the device's
 * ingress again. Whatever made the kernel send or take a packet without asking IPsec, it ends here.
 *
 * A fragment has the protocol number in its own IP header, so every fragment is recognized.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* bpf_ktime_get_ns is for programs with a GPL-compatible licence only. */
char _license[] SEC("license") = "Dual BSD/GPL";

/* Packets that were dropped, of one local address or one pair of addresses. */
struct dropped {
	__u64 out;
	__u64 in;
	__u64 out_at; /* bpf_ktime_get_ns of the last one */
	__u64 in_at;
	__u32 out_device; /* index of its device */
	__u32 in_device;
};

/*
 * The 16 bytes of an address, in the network's order; IPv4 addresses are mapped (::ffff:a.b.c.d).
 *
 * Whatever is kept on the stack has 8 bytes, and is written whole: without CAP_PERFMON the verifier refuses to write a part of a
 * stack slot that it knows a value of ("attempt to corrupt spilled pointer on stack").
 */
struct address {
	__u64 high;
	__u64 low;
};

struct pair {
	struct address local;
	struct address remote;
};

/* The outer addresses of a packet, and where its GRE header begins. */
struct outer {
	struct address source;
	struct address destination;
	__u64 gre;
	__u64 later; /* a later fragment, which has no GRE header */
};

/* The local addresses that the fence is for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct address);
	__type(value, struct dropped);
} fenced SEC(".maps");

/* For whom packets were to leave. What comes in is only summed up: anybody can send from any address. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct pair);
	__type(value, struct dropped);
} pairs SEC(".maps");

static __always_inline void add(struct dropped *d, __u64 now, __u32 device, int out)
{
	if (out) {
		__sync_fetch_and_add(&d->out, 1);
		d->out_at = now;
		d->out_device = device;
	} else {
		__sync_fetch_and_add(&d->in, 1);
		d->in_at = now;
		d->in_device = device;
	}
}

static __always_inline void map_ipv4(struct address *to, __be32 from)
{
	to->high = 0;
	to->low = bpf_cpu_to_be64(0xffff00000000ULL | bpf_ntohl(from));
}

/* Reads the outer header of a GRE packet over IPv4. Fails for any other packet. */
static __always_inline int read_ipv4(struct __sk_buff *skb, struct outer *o)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) ||
	    ip.protocol != IPPROTO_GRE)
		return -1;
	map_ipv4(&o->source, ip.saddr);
	map_ipv4(&o->destination, ip.daddr);
	o->gre = ip.ihl * 4;
	o->later = !!(ip.frag_off & bpf_htons(0x1fff));
	return 0;
}

/*
 * The same over IPv6. The kernel skips extension headers before GRE: Linux itself sends a destination option with an encapsulation
 * limit, and a packet too long for the path comes in fragments. More headers than this loop follows are nobody's GRE.
 */
static __always_inline int read_ipv6(struct __sk_buff *skb, struct outer *o)
{
	struct ipv6hdr ip;
	__u8 header[4], next;
	__u32 at = sizeof(ip);
	int i;

	if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET))
		return -1;
	next = ip.nexthdr;
	o->later = 0;
#pragma clang loop unroll(full)
	for (i = 0; i < 4; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_FRAGMENT && next != IPPROTO_DSTOPTS)
			break;
		if (bpf_skb_load_bytes_relative(skb, at, header, sizeof(header), BPF_HDR_START_NET))
			return -1;
		if (next == IPPROTO_FRAGMENT) {
			if ((header[2] << 8 | header[3]) & 0xfff8)
				o->later = 1;
			at += 8;
		} else {
			at += (header[1] + 1) * 8;
		}
		next = header[0];
		if (o->later)
			break;
	}
	if (next != IPPROTO_GRE)
		return -1;
	__builtin_memcpy(&o->source, &ip.saddr, 16);
	__builtin_memcpy(&o->destination, &ip.daddr, 16);
	o->gre = at;
	return 0;
}

/*
 * GRE version 1 is PPTP's, of hosts behind this router whose address is translated to ours. No tunnel
 * of Linux sends or takes it but PPTP. A later fragment does not show its version: it is dropped.
 */
static __always_inline int is_pptp(struct __sk_buff *skb, struct outer *o)
{
	__u8 version;

	return !o->later && !bpf_skb_load_bytes_relative(skb, o->gre + 1, &version, 1, BPF_HDR_START_NET) &&
	       (version & 7) == 1;
}

static __always_inline int fence(struct __sk_buff *skb, int out)
{
	struct dropped none = {}, *sum, *d;
	struct outer o = {};
	struct pair pair;
	__u64 now;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (read_ipv4(skb, &o))
			return TC_ACT_UNSPEC;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (read_ipv6(skb, &o))
			return TC_ACT_UNSPEC;
	} else {
		return TC_ACT_UNSPEC;
	}
	if (is_pptp(skb, &o))
		return TC_ACT_UNSPEC;
	pair.local = out ? o.source : o.destination;
	pair.remote = out ? o.destination : o.source;
	sum = bpf_map_lookup_elem(&fenced, &pair.local);
	if (!sum)
		return TC_ACT_UNSPEC;
	now = bpf_ktime_get_ns();
	add(sum, now, skb->ifindex, out);
	if (!out)
		return TC_ACT_SHOT;
	d = bpf_map_lookup_elem(&pairs, &pair);
	if (!d) {
		bpf_map_update_elem(&pairs, &pair, &none, BPF_NOEXIST);
		d = bpf_map_lookup_elem(&pairs, &pair);
	}
	if (d)
		add(d, now, skb->ifindex, out);
	return TC_ACT_SHOT;
}

SEC("tc")
int cygnet_fence_in(struct __sk_buff *skb)
{
	return fence(skb, 0);
}

SEC("tc")
int cygnet_fence_out(struct __sk_buff *skb)
{
	return fence(skb, 1);
}
