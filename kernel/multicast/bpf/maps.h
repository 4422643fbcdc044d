// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/* Settings, tables and counters that the programs share with the daemon, and what a program works on. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#include "../../datapath/bpf/sent.h" /* sent_to is replaced by the tunnel's own table before loading */

/* Settings, filled in before loading. Times are nanoseconds. */
volatile const __u32 instance = 0;      /* names this chain in skb->cb; another one may be on the tunnel for a moment */
volatile const __u32 list_size = 0;     /* peers that one of the two lists has room for */
volatile const __u8 relay = 0;          /* also replicate what came in from the tunnel */
volatile const __u64 packet_cost = 0;   /* how much of the rate a packet takes; 0: no limit */
volatile const __u64 packet_burst = 0;  /* how much of it may be ahead */
volatile const __u64 byte_cost = 0;     /* the same for each byte */
volatile const __u64 byte_burst = 0;

/* A receiver. One with a link has an IPv6 address and a device of its own, which takes the copy. */
struct peer {
	struct address address; /* outer */
	__u32 mark;             /* of the SAs with it; 0: they have none */
	__u32 link;             /* interface index of its device; 0: it has none */
};

/*
 * Which list is in use. The daemon writes a new list into the other one, and then changes `active`. The first program of the chain
 * reads it once for a packet, so that each packet goes by one list, from the first peer to the last.
 */
struct plan {
	__u32 active; /* 0 or 1 */
	__u32 length[2];
};

/* How copies leave. */
struct way {
	__u32 companion; /* interface index of the collect_md device */
	__u32 key;       /* of the tunnel */
};

/* Whether groups with a prefix pass. */
struct rule {
	__u32 address[4]; /* network order */
	__u32 mask[4];
	__u32 passes;
};

#define RULES 65

/*
 * The first rule that fits counts, and the last one in use fits every group. They are no table of prefixes (LPM trie): where the
 * kernel allocates the entries of such a table one by one, it refuses the fourth (Linux 7).
 */
struct rules {
	struct rule rule[RULES];
};

/* When all that passed is paid for. */
struct bucket {
	__u64 packets;
	__u64 bytes;
};

enum counter { TAKEN, COPIED, NEIGHBOR_DISCOVERY, RETURNED, FILTERED, OVER_RATE, NO_PEER, NO_KEY, NO_DEVICE, NO_MEMORY, REFUSED,
	       COUNTERS };

/* Groups of routing and other protocols between neighbours have a rate of their own. */
enum share { CONTROL, DATA, SHARES };

enum program { FIRST, COPIES, PROGRAMS };

/*
 * What a program works on. It is not on the stack because without CAP_PERFMON the verifier refuses to have the parts of a stack
 * slot written one by one (6.1), and how they are written is the compiler's choice.
 */
struct scratch {
	struct address group;
	struct address peer;
	struct bpf_tunnel_key key;
	__u64 flags;  /* for the key */
	__u64 copies; /* that this program sent */
	__u32 device; /* that they leave by */
	__u32 tos;    /* of the inner header */
};

/* Both lists, one behind the other. How many is set before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct peer);
} lists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plan);
} plans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct way);
} ways SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rules);
} groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHARES);
	__type(key, __u32);
	__type(value, struct bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PROGRAMS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct scratch)); /* not by type: bpf2go has no Go for it */
} scratches SEC(".maps");

static __always_inline void count(__u32 what, __u64 by)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &what);

	if (n)
		__sync_fetch_and_add(n, by);
}

static __always_inline void map_ipv4(struct address *to, __be32 from)
{
	__builtin_memset(to->b, 0, 10);
	__builtin_memset(to->b + 10, 0xff, 2);
	__builtin_memcpy(to->b + 12, &from, 4);
}
