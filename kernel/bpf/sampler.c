// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/*
 * Samples what passes over an mGRE (gre, NBMA) device: which packets come in from the tunnel only to leave by it again, and when
 * data last went to and came from each NBMA address.
 *
 * Both programs hang on the device's clsact qdisc. The device has no Ethernet header: what stands before the inner packet is the
 * outer IPv4 header with GRE behind it. At egress the device's header_ops has pushed it with the neighbour's address in it; at
 * ingress it is still there as the packet's link-layer header.
 *
 * No verdict is ever given: TC_ACT_UNSPEC passes the packet on to the filters of others.
 *
 * Plain enough for the interpreter and for Linux 5.8 (ring buffer): no loops, no callbacks, no BTF of the kernel.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10
#define SECOND 1000000000ULL
#define CAPTURE 256 /* bytes of a sampled packet; a power of two */

/*
 * bpf_fib_lookup and bpf_ktime_get_ns are for programs with a GPL-compatible licence only. The kernel knows this name for the two
 * that the first line offers.
 */
char _license[] SEC("license") = "Dual BSD/GPL";

/* Settings, filled in before loading. Times are nanoseconds. */
volatile const __u8 sample = 0;             /* look for packets to redirect */
volatile const __u8 sample_unresolved = 0;  /* also while the next hop has no neighbour entry (Linux 5.12) */
volatile const __u64 first_interval = SECOND; /* between the first two samples of a flow; then it doubles */
volatile const __u64 last_interval = 8 * SECOND;
volatile const __u64 per_second = 1000; /* samples of all flows */

/* IPv4 addresses are mapped (::ffff:a.b.c.d). */
struct address {
	__u8 b[16];
};

struct use {
	__u64 out; /* bpf_ktime_get_ns; 0: never */
	__u64 in;
};

struct flow {
	struct address outer_source;
	struct address source;
	struct address destination;
};

struct pace {
	__u64 due;      /* not looked at before */
	__u64 interval; /* until then, when last sampled; 0: not sampled last time */
};

struct budget {
	__u64 start; /* of the second that is counted */
	__u64 spent;
};

struct event {
	struct address outer_source;
	__u32 length; /* bytes of data that are valid */
	__u8 data[CAPTURE];
};

enum counter { SAMPLED, LIMITED, LOST, COUNTERS };

enum hook { INGRESS, EGRESS, HOOKS };

/*
 * What a program works on. It is not on the stack because without CAP_PERFMON the verifier refuses to have the parts of a stack
 * slot written one by one (6.1), and how they are written is the compiler's choice.
 */
struct scratch {
	struct flow flow;
	struct address peer; /* outer destination, at egress */
	struct bpf_fib_lookup route;
	__u32 length; /* of the inner packet, by its header */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct address);
	__type(value, struct use);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow);
	__type(value, struct pace);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct budget);
} budgets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HOOKS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct scratch)); /* not by type: bpf2go has no Go for it */
} scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &what);

	if (n)
		__sync_fetch_and_add(n, 1);
}

static __always_inline void map_ipv4(struct address *to, __be32 from)
{
	__builtin_memset(to->b, 0, 10);
	__builtin_memset(to->b + 10, 0xff, 2);
	__builtin_memcpy(to->b + 12, &from, 4);
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
	if (!address || (address & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000))
		return -1;
	map_ipv4(to, address);
	return 0;
}

static __always_inline void note_use(struct address *peer, int out)
{
	__u64 now = bpf_ktime_get_ns();
	struct use *use = bpf_map_lookup_elem(&peers, peer);

	if (!use) {
		struct use never = {};

		bpf_map_update_elem(&peers, peer, &never, BPF_NOEXIST);
		use = bpf_map_lookup_elem(&peers, peer);
		if (!use)
			return;
	}
	if (out)
		use->out = now;
	else
		use->in = now;
}

/*
 * Reads the inner header: the flow's ends, the query for its route, the length. Fails for what is not data between two routers'
 * networks: NHRP, other protocols, multicast, damaged headers.
 */
static __always_inline int read_inner(struct __sk_buff *skb, struct scratch *s)
{
	__builtin_memset(&s->route, 0, sizeof(s->route));
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) || ip.version != 4)
			return -1;
		if ((ip.daddr & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000))
			return -1;
		map_ipv4(&s->flow.source, ip.saddr);
		map_ipv4(&s->flow.destination, ip.daddr);
		s->route.family = AF_INET;
		s->route.l4_protocol = ip.protocol;
		s->route.tos = ip.tos;
		s->route.ipv4_src = ip.saddr;
		s->route.ipv4_dst = ip.daddr;
		s->length = bpf_ntohs(ip.tot_len);
		return s->length < sizeof(ip) ? -1 : 0;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET) || ip.version != 6)
			return -1;
		if (ip.daddr.in6_u.u6_addr8[0] == 0xff)
			return -1;
		__builtin_memcpy(&s->flow.source, &ip.saddr, 16);
		__builtin_memcpy(&s->flow.destination, &ip.daddr, 16);
		s->route.family = AF_INET6;
		s->route.l4_protocol = ip.nexthdr;
		s->route.flowinfo = *(__be32 *)&ip & bpf_htonl(0x0fffffff);
		__builtin_memcpy(s->route.ipv6_src, &ip.saddr, 16);
		__builtin_memcpy(s->route.ipv6_dst, &ip.daddr, 16);
		s->length = sizeof(ip) + bpf_ntohs(ip.payload_len);
		return 0;
	}
	return -1;
}

/* Whether the kernel will forward the packet back out of the device that it came in on. */
static __always_inline int turns_back(struct __sk_buff *skb, struct bpf_fib_lookup *route)
{
	long result;

	route->ifindex = skb->ifindex;
	result = bpf_fib_lookup(skb, route, sizeof(*route), 0);
	if (result == BPF_FIB_LKUP_RET_NO_NEIGH)
		/* Before Linux 5.12 ifindex is not the answer then, but still the question. */
		return sample_unresolved && route->ifindex == skb->ifindex;
	if (result == BPF_FIB_LKUP_RET_SUCCESS || result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return route->ifindex == skb->ifindex;
	return 0;
}

/* Takes one sample from the budget of this second. Cores that race may take a few too many. */
static __always_inline int afford(__u64 now)
{
	__u32 zero = 0;
	struct budget *b = bpf_map_lookup_elem(&budgets, &zero);

	if (!b)
		return 0;
	if (now - b->start >= SECOND) {
		b->start = now;
		b->spent = 0;
	}
	if (b->spent >= per_second)
		return 0;
	__sync_fetch_and_add(&b->spent, 1);
	return 1;
}

static __always_inline void hand_on(struct __sk_buff *skb, struct address *outer_source, __u32 length)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		count(LOST);
		return;
	}
	if (length > CAPTURE)
		length = CAPTURE;
	/* Says 1 to CAPTURE in a way that the verifier follows and the compiler does not see through. */
	asm volatile("" : "+r"(length));
	length = ((length - 1) & (CAPTURE - 1)) + 1;
	/* It is the header's word for the length, so it may be wrong. */
	if (bpf_skb_load_bytes_relative(skb, 0, e->data, length, BPF_HDR_START_NET)) {
		bpf_ringbuf_discard(e, 0);
		return;
	}
	e->outer_source = *outer_source;
	e->length = length;
	bpf_ringbuf_submit(e, 0);
	count(SAMPLED);
}

SEC("tc")
int cygnet_ingress(struct __sk_buff *skb)
{
	__u32 hook = INGRESS;
	struct scratch *s = bpf_map_lookup_elem(&scratches, &hook);
	struct pace last = {}, next = {};
	struct pace *known;
	__u64 now;

	if (!s || read_outer(skb, offsetof(struct iphdr, saddr), &s->flow.outer_source) || read_inner(skb, s))
		return TC_ACT_UNSPEC;
	note_use(&s->flow.outer_source, 0);
	if (!sample)
		return TC_ACT_UNSPEC;

	now = bpf_ktime_get_ns();
	known = bpf_map_lookup_elem(&flows, &s->flow);
	if (known)
		last = *known;
	if (now < last.due)
		return TC_ACT_UNSPEC;
	if (!turns_back(skb, &s->route)) {
		/* Remembered as well: the look-up costs more than this table does. */
		next.due = now + first_interval;
		bpf_map_update_elem(&flows, &s->flow, &next, BPF_ANY);
		return TC_ACT_UNSPEC;
	}
	next.interval = first_interval;
	/* A flow that paused for as long as its interval starts again from the first. */
	if (now - last.due < last.interval)
		next.interval = last.interval * 2;
	if (next.interval > last_interval)
		next.interval = last_interval;
	next.due = now + next.interval;
	if (!afford(now)) {
		count(LIMITED);
		return TC_ACT_UNSPEC;
	}
	bpf_map_update_elem(&flows, &s->flow, &next, BPF_ANY);
	hand_on(skb, &s->flow.outer_source, s->length);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int cygnet_egress(struct __sk_buff *skb)
{
	__u32 hook = EGRESS;
	struct scratch *s = bpf_map_lookup_elem(&scratches, &hook);

	if (!s || read_outer(skb, offsetof(struct iphdr, daddr), &s->peer) || read_inner(skb, s))
		return TC_ACT_UNSPEC;
	note_use(&s->peer, 1);
	return TC_ACT_UNSPEC;
}
