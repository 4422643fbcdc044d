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

struct pair {
	__be32 local;
	__be32 remote;
};

/* The local addresses that the fence is for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __be32);
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

/*
 * GRE version 1 is PPTP's, of hosts behind this router whose address is translated to ours. No tunnel
 * of Linux sends or takes it but PPTP. A later fragment does not show its version: it is dropped.
 */
static __always_inline int is_pptp(struct __sk_buff *skb, struct iphdr *ip)
{
	__u8 version;

	return !(ip->frag_off & bpf_htons(0x1fff)) &&
	       !bpf_skb_load_bytes_relative(skb, ip->ihl * 4 + 1, &version, 1, BPF_HDR_START_NET) &&
	       (version & 7) == 1;
}

static __always_inline int fence(struct __sk_buff *skb, int out)
{
	struct dropped none = {}, *sum, *d;
	struct pair pair;
	struct iphdr ip;
	__u64 now;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) ||
	    ip.protocol != IPPROTO_GRE)
		return TC_ACT_UNSPEC;
	if (is_pptp(skb, &ip))
		return TC_ACT_UNSPEC;
	pair.local = out ? ip.saddr : ip.daddr;
	pair.remote = out ? ip.daddr : ip.saddr;
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
