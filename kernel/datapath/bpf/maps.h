// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/* Settings, tables and counters that the programs share with the daemon, and what a program works on. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#include "sent.h"

#define SECOND 1000000000ULL
#define NHRP_OVERHEAD 768 /* bytes of memory of a received packet beside its own */
#define TCP_OPTIONS 40 /* the most bytes of options in a TCP header */
#define CAPTURE 256 /* bytes of a sampled packet; a power of two */

/* Settings, filled in before loading. Times are nanoseconds. */
volatile const __u8 admission = 0;          /* let data pass from admitted peers only */
volatile const __u8 source_check = 0;       /* and only with inner sources that lead back to them */
volatile const __u64 overlay_prefix = 0;    /* the first half of all overlay addresses; 0: none belongs to a link-local address */
volatile const __u8 client = 0;             /* this router has next hop servers, which know more ways than it does */
volatile const __u8 sample = 0;             /* look for packets to redirect */
volatile const __u8 tells_device = 0;       /* bpf_fib_lookup says the device also where the neighbour is missing (Linux 5.12) */
volatile const __u64 first_interval = SECOND; /* between the first two samples of a flow; then it doubles */
volatile const __u64 last_interval = 8 * SECOND;
volatile const __u64 per_second = 1000; /* samples of all flows */
volatile const __u64 per_source = 100;  /* of them, for one outer source; not 0 */
volatile const __u64 nhrp_byte = 1000;  /* how long a byte of NHRP takes of its source's share */
volatile const __u32 mss_ipv4 = 0;           /* the most that TCP connections are told; 0: it stays */
volatile const __u32 mss_ipv6 = 0;
volatile const __u64 nhrp_burst = 2 * SECOND; /* how much of that may be ahead; 0: no limit */

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

struct share {
	__u64 samples; /* when all that were taken are paid for */
	__u64 nhrp;
};

struct event {
	struct address outer_source;
	__u32 length; /* bytes of data that are valid */
	__u8 data[CAPTURE];
};

/* How packets to marked peers leave. */
struct way {
	__u32 companion; /* interface index of the collect_md device; 0: there is none */
	__u32 key;       /* of the tunnel */
};

/* Where the tunnel is. It is a table, since others may move the tunnel while the programs run. */
struct surroundings {
	__u32 in_vrf; /* the tunnel is in a VRF */
};

/* How packets to a linked peer leave (links.h). */
struct link {
	struct address real; /* the peer's IPv6 address */
	__u32 device;        /* interface index of its ip6gre device */
};

/* Whose packets a link hands up, and to which tunnel. */
struct owner {
	__u32 name;   /* of the peer, as a mark */
	__u32 tunnel; /* interface index */
};

enum counter { SAMPLED, LIMITED, LOST, NOT_ADMITTED, WRONG_SOURCE, LOOPED, NO_MARK, NO_WAY, UNCLAIMED,
	       OVER_SHARE, NHRP_FLOOD, MSS_LOWERED, NO_LINK, NO_OWNER, COUNTERS };

enum hook { INGRESS, EGRESS, PROBE, HOOKS };

/* Flags of an admitted address. */
#define ADMITTED_NHS 1u    /* it relays what others sent */
#define ADMITTED_SHARED 2u /* so is every marked peer that the world sees at it */

/*
 * What a program works on. It is not on the stack because without CAP_PERFMON the verifier refuses to have the parts of a stack
 * slot written one by one (6.1), and how they are written is the compiler's choice.
 */
struct scratch {
	struct flow flow;    /* at ingress */
	struct address peer; /* outer destination, at egress; next hop, at ingress */
	struct address real; /* where the world sees a marked peer */
	struct bpf_fib_lookup route;
	struct bpf_tunnel_key key;
	__u32 length; /* of the inner packet, by its header */
	__u32 tcp;    /* bytes of the inner IP header, if a whole TCP segment follows at once; else 0 */
	__u32 place;  /* among the options of that segment */
	__u8 option[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct address);
	__type(value, struct use);
} peers SEC(".maps");

/*
 * Who may send data, with flags. How many is set before loading. The kernel sets memory aside for all of them: what it has at hand for
 * single entries is some dozen, and a hub's clients come all at once.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct address);
	__type(value, __u32);
} admitted SEC(".maps");

/* The address that the world sees of a peer that is named by its SA's mark. How many is set before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct address);
	__type(value, struct address);
} marked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct way);
} ways SEC(".maps");

/* The link of each linked peer, by the peer's name. How many is set before loading. As above, a restart fills it all at once. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct address);
	__type(value, struct link);
} links SEC(".maps");

/* The owner of each link, by its interface index. How many is set before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct owner);
} owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct surroundings);
} around SEC(".maps");

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

/* How many is set before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct address);
	__type(value, struct share);
} shares SEC(".maps");

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

static __always_inline int in_vrf(void)
{
	__u32 zero = 0;
	struct surroundings *s = bpf_map_lookup_elem(&around, &zero);

	return s && s->in_vrf;
}

static __always_inline struct scratch *scratch_of(__u32 hook)
{
	return bpf_map_lookup_elem(&scratches, &hook);
}
