// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

/* Which packets come in from the tunnel only to leave by it again: the sender had better send them directly. */
#pragma once

#include "headers.h"
#include "share.h"
#include "way.h"

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

/* The next time to sample a flow that is sampled now. */
static __always_inline void slow_down(struct pace *next, struct pace *last, __u64 now)
{
	next->interval = first_interval;
	/* A flow that paused for as long as its interval starts again from the first. */
	if (now - last->due < last->interval)
		next->interval = last->interval * 2;
	if (next->interval > last_interval)
		next->interval = last_interval;
	next->due = now + next->interval;
}

/*
 * Follows one packet: hands it on where it turns back, and drops it where a next hop server sent it and would get it back, since the
 * two would pass it to and fro until its TTL ends.
 */
static __always_inline int follow(struct __sk_buff *skb, struct scratch *s, int from_nhs)
{
	struct pace last = {}, next = {};
	struct pace *known;
	enum way_of way;
	__u64 now;

	now = bpf_ktime_get_ns();
	known = bpf_map_lookup_elem(&flows, &s->flow);
	if (known)
		last = *known;
	if (now < last.due)
		return TC_ACT_UNSPEC;
	way = look_up(skb, s);
	if (from_nhs && way == TUNNEL_TO_PEER && same_address(&s->peer, &s->flow.outer_source)) {
		count(LOOPED);
		return TC_ACT_SHOT;
	}
	if (!sample || way == ELSEWHERE) {
		/* Remembered as well: the look-up costs more than this table does. */
		next.due = now + first_interval;
		bpf_map_update_elem(&flows, &s->flow, &next, BPF_ANY);
		return TC_ACT_UNSPEC;
	}
	slow_down(&next, &last, now);
	if (!has_sample(&s->flow.outer_source, now)) {
		count(OVER_SHARE);
		return TC_ACT_UNSPEC;
	}
	if (!afford(now)) {
		count(LIMITED);
		return TC_ACT_UNSPEC;
	}
	bpf_map_update_elem(&flows, &s->flow, &next, BPF_ANY);
	hand_on(skb, &s->flow.outer_source, s->length);
	return TC_ACT_UNSPEC;
}
