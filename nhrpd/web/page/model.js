// The mesh as this router knows it, from the status of the daemon. There is nothing of the page in
// here: objects in, objects out.
//
// A router has
//   id         its first overlay address, or its underlay address if no overlay address is known
//   addresses  its overlay addresses
//   role       "this router", "hub", "client", "spoke", "map" or "peer"
//   kind       the kind of the path from this router to it:
//                hub       the path between a hub and its client: it works
//                direct    a direct path that is proven
//                unproven  there is an SA, and nothing proves yet that the path carries packets
//                setup     no SA yet, or a question is under way
//                failed    it does not work, and packets go by the hub or nowhere
//                reserve   left alone, as another hub is used
//   state      in words
//   nat        "", "here", "there" or "both"
//   since, in, out (bytes a second), totalIn, totalOut, identity, nbma, mark, prefixes
//
// A pair is a direct path between two clients of this hub, as far as the hub knows: see pairs.

import { byAddress, host, time } from './text.js';

// build returns the mesh of one interface. rates has what Rates counted, memory the overlay addresses
// of before.
export function build(status, name, rates, pairs, memory) {
  const i = status.interfaces.find((x) => x.name === name) ?? status.interfaces[0];
  if (!i) return { routers: new Map(), paths: [], pairs: [], shortcuts: [] };
  const book = new Book(i);
  i.nhs.forEach((n) => book.addHub(n));
  i.bindings.forEach((b) => book.addBinding(b));
  i.shortcuts.forEach((s) => book.addShortcut(s));
  i.peers.forEach((p) => book.addPeer(p));
  const routers = book.finish(rates, memory);
  const self = thisRouter(i, status);
  const all = new Map([[self.id, self]]);
  for (const r of routers) if (!all.has(r.id)) all.set(r.id, r);
  const between = pairsOf(pairs ?? [], i.name, all, time(status.now));
  return {
    interface: i, self, routers: all, pairs: between, shortcuts: i.shortcuts,
    paths: [...pathsFrom(self, all), ...pathsBetween(between, all)],
  };
}

function thisRouter(i, status) {
  const addresses = (i.addresses ?? []).map(host);
  const works = i.up && !i.left && !i.error;
  return {
    id: addresses[0] ?? i.name, addresses, role: 'this router', kind: works ? 'self' : 'failed',
    state: i.left ? 'said goodbye' : i.error ? i.error : i.up ? 'up' : 'down',
    hub: i.bindings.length > 0 || i.redirect, identity: '', nbma: i.nbma ?? '',
    nat: i.public_nbma ? 'here' : '', since: status.started, prefixes: [],
  };
}

// Book joins what the lists of an interface have of each router.
class Book {
  constructor(i) {
    this.i = i;
    this.routers = [];
    this.byAddress = new Map();
    this.byPlace = new Map(); // lists of the routers at an underlay address with a mark
  }

  // router returns the router with an overlay address. Two addresses of different families at one
  // place with one identity belong to one router.
  router(address, at) {
    let r = address && this.byAddress.get(address);
    if (!r) {
      r = this.at(at).find((x) => x.identity === (at.identity ?? '') &&
        (!address || x.addresses.every((a) => six(a) !== six(address))));
    }
    if (!r) {
      r = {
        addresses: [], role: 'peer', nbma: at.nbma ?? '', mark: at.mark ?? 0,
        identity: at.identity ?? '', prefixes: [], shortcuts: [], nat: '',
      };
      this.routers.push(r);
      this.byPlace.set(place(r), [...this.at(r), r]);
    }
    if (address && !r.addresses.includes(address)) {
      r.addresses.push(address);
      this.byAddress.set(address, r);
    }
    return r;
  }

  // at returns the routers at a place.
  at(p) {
    return this.byPlace.get(place(p)) ?? [];
  }

  addHub(n) {
    const protocols = (n.registrations ?? []).map((x) => x.protocol).filter(Boolean);
    if (protocols.length === 0) protocols.push(n.protocol);
    for (const protocol of protocols) {
      const r = this.router(protocol, { nbma: n.nbma ?? n.name });
      r.role = 'hub';
      r.nhs = n;
      r.name = n.name;
    }
  }

  addBinding(b) {
    const r = this.router(b.protocol, b);
    if (r.role !== 'hub') r.role = b.static ? 'map' : 'client';
    r.identity ||= b.identity ?? '';
    r.binding = b;
    r.prefixes = [...new Set([...r.prefixes, ...(b.prefixes ?? [])])];
    if (b.client_nbma) r.clientNBMA = b.client_nbma;
  }

  addShortcut(s) {
    if (!s.next_hop) return; // nobody answered yet
    const r = this.router(s.next_hop, s);
    if (r.role === 'peer') r.role = 'spoke';
    r.identity ||= s.identity ?? '';
    r.shortcuts.push(s);
    r.prefixes = [...new Set([...r.prefixes, s.prefix])];
  }

  addPeer(p) {
    const here = this.at(p);
    const known = p.protocols?.length > 0 ? p.protocols : [''];
    for (const r of here.length > 0 ? here : new Set(known.map((a) => this.router(a, p)))) {
      r.peer = p;
      r.identity ||= p.identity ?? '';
      r.nat = p.local_nat && p.remote_nat ? 'both' : p.local_nat ? 'here' :
        p.remote_nat ? 'there' : '';
    }
  }

  finish(rates, memory) {
    for (const r of this.routers) {
      memory.recall(this.i.name, r, this.byAddress);
      r.addresses.sort((a, b) => six(a) - six(b) || byAddress(a, b));
      r.id = r.addresses[0] ?? (r.mark ? `${r.nbma}#${r.mark}` : r.nbma);
      Object.assign(r, pathOf(r, this.i));
      const bytes = rates.of(this.i.name, r);
      if (bytes) Object.assign(r, bytes);
    }
    return this.routers.sort((a, b) => byAddress(a.id, b.id));
  }
}

function six(address) {
  return address.includes(':') ? 1 : 0;
}

function place(p) {
  return `${p.nbma}#${p.mark ?? 0}`;
}

// pathOf returns the kind and state of the path to a router, and since when it has been so.
function pathOf(r, i) {
  const p = r.peer;
  if (p?.prohibited) return { kind: 'failed', state: 'no rule matches it', since: p.since };
  if (r.role === 'hub') return hubPath(r, p);
  if (r.role === 'client' || r.role === 'map') return clientPath(r, p, i);
  if (r.shortcuts.length > 0) return shortcutPath(r, p);
  return peerPath(p);
}

const hubWaits = { unresolved: 'failed', securing: 'setup', registering: 'setup', refused: 'failed',
  reserve: 'reserve', left: 'failed' };

function hubPath(r, p) {
  const n = r.nhs;
  let state = n.state;
  if (n.use && n.use !== 'in use' && n.use !== n.state) state += ', ' + n.use;
  if (n.state === 'registered') {
    return { kind: 'hub', state, since: p?.since ?? n.registered };
  }
  const tries = n.attempts >= 3;
  if (tries) state += `, ${n.attempts} unanswered`;
  return { kind: tries ? 'failed' : hubWaits[n.state] ?? 'setup', state, since: n.asked ?? p?.since,
    error: n.error ?? p?.error };
}

function clientPath(r, p, i) {
  const b = r.binding;
  const since = p?.since ?? b.registered;
  if (i.protected && !b.secured && p?.state !== 'secured') {
    return { kind: p?.state === 'securing' ? 'setup' : 'failed', state: p?.state === 'securing' ?
      'securing' : 'no SA', since, error: p?.error };
  }
  return { kind: 'hub', state: b.static ? 'static map' : 'registered', since };
}

const order = ['up', 'proving', 'securing', 'resolving', 'impossible'];

function shortcutPath(r, p) {
  const s = [...r.shortcuts].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state))[0];
  const path = p?.path ?? (s.path ? { state: s.path, since: s.since } : undefined);
  if (s.state === 'up' && path?.state === 'failed') return failedPath(path);
  if (s.state === 'up' && (path?.state === 'proven' || path?.state === 'small')) {
    const state = path.state === 'small' ? `direct, up to ${path.mtu} bytes` : 'direct';
    return { kind: 'direct', state, since: s.since };
  }
  if (s.state === 'up') return { kind: 'unproven', state: 'direct, not proven', since: s.since };
  if (s.state === 'proving') return { kind: 'unproven', state: 'proving', since: s.since };
  if (s.state === 'impossible') {
    return { kind: 'failed', state: 'by the hub', since: s.since, error: s.reason };
  }
  return { kind: 'setup', state: s.state, since: s.since, error: p?.error };
}

function failedPath(path) {
  return { kind: 'failed', state: 'failed, by the hub', since: path.since, error: path.reason };
}

function peerPath(p) {
  if (p.path?.state === 'failed') return failedPath(p.path);
  if (p.state !== 'secured') {
    return { kind: p.state === 'securing' ? 'setup' : 'failed',
      state: p.state === 'absent' ? 'no SA' : p.state, since: p.since, error: p.error };
  }
  if (p.path?.state === 'proven' || p.path?.state === 'small') {
    return { kind: 'direct', state: 'direct', since: p.path.since };
  }
  if (p.interest.includes('answer')) {
    return { kind: 'unproven', state: 'SA, it was answered', since: p.since };
  }
  return { kind: 'unproven', state: p.admitted ? 'SA' : 'SA, not admitted', since: p.since };
}

function pathsFrom(self, routers) {
  return [...routers.values()].filter((r) => r !== self).map((r) => ({
    from: self.id, to: r.id, kind: r.kind, nat: r.nat, rate: (r.in ?? 0) + (r.out ?? 0),
    text: r.state,
  }));
}

// remembered is for how long a pair is drawn after the hub last heard of it.
const remembered = 15 * 60 * 1000;

// pairsOf returns the direct paths between clients that this hub knows of: it told one of a shorter
// way, or passed its question on. The newest first, one for each two routers and direction.
function pairsOf(list, name, routers, now) {
  const byAddress = new Map();
  const byPlace = new Map();
  for (const r of routers.values()) {
    r.addresses.forEach((a) => byAddress.set(a, r));
    if (r.nbma) byPlace.set(`${r.nbma}#${r.mark ?? 0}`, r);
  }
  const found = new Map();
  for (const p of list) {
    if (p.interface !== name) continue;
    const from = byAddress.get(p.source) ?? byPlace.get(place(p));
    const to = byAddress.get(p.question.next_hop) ?? byAddress.get(p.next_hop);
    if (!from || !to || from === to) continue;
    const last = Math.max(...[p.question.indicated, p.question.asked, p.question.answered]
      .map(time).filter((t) => !Number.isNaN(t)));
    const pair = { from: from.id, to: to.id, destination: p.destination, last, old:
      now - last > remembered, ...pairState(p.question), question: p.question };
    const key = from.id + ' ' + to.id;
    if (!found.has(key) || found.get(key).last < last) found.set(key, pair);
  }
  return [...found.values()].sort((a, b) => b.last - a.last);
}

// pairState says what a hub knows of a path between two others.
function pairState(q) {
  if (q.code) {
    return { kind: 'failed', state: `refused: code ${q.code}`, error: q.code_text };
  }
  if (q.outcome === 'up' || q.answered) return { kind: 'asked', state: 'answered' };
  if (q.asked) return { kind: 'asked', state: 'question passed on' };
  if (q.ignored) return { kind: 'withheld', state: 'by this hub', error: q.ignored };
  return { kind: 'told', state: 'told of the shorter way' };
}

function pathsBetween(pairs, routers) {
  const drawn = new Map();
  for (const p of pairs) {
    if (p.old || p.kind === 'withheld') continue;
    const key = [p.from, p.to].sort().join(' ');
    const known = drawn.get(key);
    if (known && (known.kind === 'asked' || p.kind !== 'asked')) continue;
    drawn.set(key, { from: p.from, to: p.to, kind: p.kind, between: true, text: p.state,
      destination: p.destination, nat: [p.from, p.to].some((id) => routers.get(id)?.nat) ?
        'there' : '' });
  }
  return [...drawn.values()];
}

// mostRemembered is how many addresses are remembered.
const mostRemembered = 4096;

// Memory knows which overlay address a router had, for when only its SA is left: a direct path that
// failed has no shortcut any more, and the router is still the same.
export class Memory {
  constructor() {
    this.known = new Map();
  }

  // recall gives a router without overlay address the one that it had, unless another router has it.
  recall(name, r, taken) {
    if (!r.identity) return; // the next router at that place might be another one
    const key = keyOf(name, r.nbma, r.mark, r.identity);
    if (r.addresses.length > 0) {
      this.known.delete(key); // the map is ordered by the last use
      this.known.set(key, r.addresses);
      if (this.known.size > mostRemembered) this.known.delete(this.known.keys().next().value);
      return;
    }
    const before = this.known.get(key) ?? [];
    if (before.every((a) => !taken.has(a))) r.addresses = [...before];
  }
}

// Rates keeps the byte counts of SAs, and makes rates of them.
export class Rates {
  constructor() {
    this.counts = new Map();
  }

  // take takes a list of SAs of a time in milliseconds.
  take(sas, at) {
    const sums = new Map();
    for (const sa of sas) {
      for (const child of sa.children) {
        for (const name of [sa.interface, ...(sa.shared_by ?? [])]) {
          for (const identity of new Set(['', sa.remote_identity ?? ''])) {
            const key = keyOf(name, sa.remote, child.mark, identity);
            const sum = sums.get(key) ?? { totalIn: 0, totalOut: 0 };
            sum.totalIn += child.total_in;
            sum.totalOut += child.total_out;
            sums.set(key, sum);
          }
        }
      }
    }
    const before = this.counts;
    this.counts = new Map();
    for (const [key, sum] of sums) {
      const old = before.get(key);
      const seconds = old ? (at - old.at) / 1000 : 0;
      const entry = { ...sum, at };
      if (seconds > 0) {
        entry.in = Math.max(0, sum.totalIn - old.totalIn) / seconds;
        entry.out = Math.max(0, sum.totalOut - old.totalOut) / seconds;
      } else if (old) { // the same counts again
        entry.in = old.in;
        entry.out = old.out;
      }
      this.counts.set(key, entry);
    }
  }

  // of returns the counts and rates of a router's SAs; undefined if it has none.
  of(name, r) {
    const c = this.counts.get(keyOf(name, r.nbma, r.mark, r.identity)) ??
      this.counts.get(keyOf(name, r.nbma, r.mark, ''));
    return c && { totalIn: c.totalIn, totalOut: c.totalOut, in: c.in, out: c.out };
  }
}

function keyOf(name, nbma, mark, identity) {
  return `${name} ${nbma} ${mark ?? 0} ${identity}`;
}
