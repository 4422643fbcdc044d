// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/*
 * Replicates what is sent to groups over an mGRE (gre, NBMA) device: each receiver in a list gets a copy of its own, by unicast, and
 * the packet itself ends here.
 *
 * The programs are a chain of filters at the egress of the device's clsact qdisc. The first one takes a packet, and notes in skb->cb
 * which part of the lists it goes to. Each filter behind it has the same program, which goes on from there, sends up to
 * 512 copies, and moves the note on. The one that comes to the end of the list ends the packet. So a filter more is
 * room for more peers, and no packet needs the daemon.
 *
 * The device has no Ethernet header: what stands before the inner packet is the outer IPv4 header with GRE behind it. A copy goes to
 * the companion device without them, and gets new ones there.
 *
 * A packet that ends here is stolen, whether it was replicated or dropped: what the qdisc counts as dropped has to be what the data
 * path's programs dropped (the daemon compares what was sent with what IPsec took).
 *
 * Plain enough for the interpreter and for CAP_BPF without CAP_PERFMON: with that, the verifier of 6.1 refuses loops of 8 turns, and
 * a chain needs no table of programs, which the kernel empties when the daemon ends.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "copy.h"
#include "group.h"
#include "maps.h"
#include "rate.h"

/* bpf_ktime_get_ns is for programs with a GPL-compatible licence only. The kernel knows this name for the two of the first line. */
char _license[] SEC("license") = "Dual BSD/GPL";

/* What the first program notes in skb->cb for those behind it. */
enum note {
	WHOSE, /* the instance */
	NEXT,  /* the next place of the lists */
	END,   /* the place behind the last peer */
	OUTER, /* type of service, TTL, and whether there is a GRE key: a byte each */
	LOCAL, /* the tunnel's outer address, host order */
};

#define DEFAULT_TTL 64 /* where the tunnel takes the inner packet's, which for a group is often 1 */
#define GRE_KEY bpf_htons(0x2000)
#define FROM_TUNNEL 0x2001 /* as in ../../datapath/bpf/headers.h */

static __always_inline struct scratch *scratch_of(__u32 program)
{
	return bpf_map_lookup_elem(&scratches, &program);
}

static __always_inline int drop(__u32 reason)
{
	count(reason, 1);
	return TC_ACT_STOLEN;
}

/* Notes which peers get the packet, and what of the outer header the copies have too. Returns the verdict for the packet. */
static __always_inline int begin(struct __sk_buff *skb, struct scratch *s)
{
	__u32 zero = 0, start = 0, active, length, other, outer;
	volatile struct plan *plan = bpf_map_lookup_elem(&plans, &zero);
	__be32 local;
	__be16 gre;
	__u8 ttl;

	if (!plan)
		return drop(NO_PEER);
	/* All of it is read first: without CAP_PERFMON the verifier refuses a pointer that a comparison chose. */
	active = plan->active;
	length = plan->length[0];
	other = plan->length[1];
	if (active) {
		start = list_size;
		length = other;
	}
	if (!length)
		return drop(NO_PEER);
	if (bpf_skb_load_bytes(skb, offsetof(struct iphdr, saddr), &local, 4) ||
	    bpf_skb_load_bytes(skb, offsetof(struct iphdr, ttl), &ttl, 1) ||
	    bpf_skb_load_bytes(skb, sizeof(struct iphdr), &gre, 2))
		return drop(NO_KEY);
	outer = s->tos | (ttl ? ttl : DEFAULT_TTL) << 8 | (gre & GRE_KEY ? 1 << 16 : 0);
	skb->cb[WHOSE] = instance;
	skb->cb[NEXT] = start;
	skb->cb[END] = start + length;
	skb->cb[OUTER] = outer;
	skb->cb[LOCAL] = bpf_ntohl(local);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int cygnet_group(struct __sk_buff *skb)
{
	struct scratch *s;
	enum kind kind;

	if (is_for_one(skb))
		return TC_ACT_UNSPEC;
	s = scratch_of(FIRST);
	if (!s)
		return TC_ACT_UNSPEC;
	kind = read_group(skb, s);
	if (kind == OTHER)
		return TC_ACT_UNSPEC;
	if (kind == DISCOVERY)
		return drop(NEIGHBOR_DISCOVERY);
	/* The data path has checked at the tunnel's ingress who sent it, and in a VRF left word that it came in there. */
	if (!relay && (skb->ingress_ifindex == skb->ifindex || skb->tc_index == FROM_TUNNEL))
		return drop(RETURNED);
	if (!is_allowed(&s->group))
		return drop(FILTERED);
	if (!has_room(skb, is_control(&s->group) ? CONTROL : DATA))
		return drop(OVER_RATE);
	count(TAKEN, 1);
	return begin(skb, s);
}

/* Prepares what all copies of a packet have in common. */
static __always_inline void prepare(struct __sk_buff *skb, struct scratch *s, struct way *way)
{
	__u32 outer = skb->cb[OUTER];

	__builtin_memset(&s->key, 0, sizeof(s->key));
	/* Not left to the route: the guard and the SAs are for this address only. */
	s->key.local_ipv4 = skb->cb[LOCAL];
	s->key.tunnel_tos = outer & 0xff;
	s->key.tunnel_ttl = outer >> 8 & 0xff;
	s->flags = BPF_F_ZERO_CSUM_TX;
	if (outer & 1 << 16)
		s->key.tunnel_id = way->key;
	else
		s->flags |= BPF_F_NO_TUNNEL_KEY;
	s->device = way->companion;
	s->copies = 0;
}

/* Written out, since the verifier refuses the loop, and clang does not unroll as many turns. */
#define COPY             \
	if (next >= end) \
		goto done; \
	copy_to(skb, s, next++);
#define EIGHT(x) x x x x x x x x

SEC("tc")
int cygnet_copies(struct __sk_buff *skb)
{
	struct scratch *s;
	struct way *way;
	__u32 zero = 0, next, end;

	if (skb->cb[WHOSE] != instance)
		return TC_ACT_UNSPEC;
	s = scratch_of(COPIES);
	way = bpf_map_lookup_elem(&ways, &zero);
	if (!s || !way)
		return drop(NO_DEVICE);
	prepare(skb, s, way);
	next = skb->cb[NEXT];
	end = skb->cb[END];
	EIGHT(EIGHT(EIGHT(COPY)))
done:
	skb->cb[NEXT] = next;
	count(COPIED, s->copies);
	return next < end ? TC_ACT_UNSPEC : TC_ACT_STOLEN;
}
