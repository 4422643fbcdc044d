// The tables: routers, paths between spokes, shortcuts. Rows stay for as long as what they show, so
// that the focus stays.

import { kinds, labelOf, withNAT } from './mesh.js';
import { byAddress, make, rate, set, size, span, time, write } from './text.js';

// mostRows is how many rows a table has at most. The filter finds the others.
const mostRows = 400;

// Table keeps a table's rows.
//
// A column is [title, text of an entry, class].
class Table {
  constructor(table, columns) {
    this.table = table;
    this.columns = columns;
    this.rows = new Map();
    table.tHead.rows[0].append(...columns.map(([title, , kind]) =>
      make('th', { scope: 'col', class: kind }, title)));
  }

  // show has a row for each entry, in this order. key identifies a row; attributes are the row's;
  // the first column is a button that calls act.
  show(entries, key, attributes, act) {
    const body = this.table.tBodies[0];
    const there = new Set();
    let before = null;
    for (const entry of entries.slice(0, mostRows)) {
      const id = key(entry);
      if (there.has(id)) continue;
      there.add(id);
      const row = this.rows.get(id) ?? this.add(id, act);
      row.entry = entry;
      set(row, attributes(entry));
      this.columns.forEach(([, text], n) => {
        write(n === 0 ? row.cells[0].firstChild : row.cells[n], text(entry));
      });
      const next = before ? before.nextSibling : body.firstChild;
      if (next !== row) body.insertBefore(row, next);
      before = row;
    }
    for (const [id, row] of this.rows) {
      if (there.has(id)) continue;
      row.remove();
      this.rows.delete(id);
    }
  }

  add(id, act) {
    const button = make('button', { type: 'button' });
    const row = make('tr', {}, make('th', { scope: 'row' }, button),
      ...this.columns.slice(1).map(([, , kind]) => make('td', { class: kind })));
    row.addEventListener('click', (e) => {
      // Who marks text to copy it wants no explanation.
      if (e.target.closest('button') || String(getSelection()) === '') act(row.entry, e.shiftKey);
    });
    this.rows.set(id, row);
    return row;
  }
}

const worst = { failed: 0, setup: 1, unproven: 2, direct: 3, hub: 4, reserve: 5 };

// Routers is the table of all routers.
export class Routers {
  constructor(table, note, choose) {
    this.note = note;
    this.choose = choose;
    this.now = 0;
    this.table = new Table(table, [
      ['Router', (r) => labelOf(r), 'name'],
      ['Overlay', (r) => r.addresses.join(' ') || '–', 'address'],
      ['Role', (r) => r.role, ''],
      ['Path', (r) => withNAT(r), 'kind'],
      ['State', (r) => (r.error ? `${r.state}: ${r.error}` : r.state), 'state'],
      ['For', (r) => span(this.now - time(r.since)), 'number'],
      ['In', (r) => rate(r.in), 'number'],
      ['Out', (r) => rate(r.out), 'number'],
      ['Bytes', (r) => (r.totalIn === undefined ? '' : size(r.totalIn + r.totalOut)), 'number'],
      ['Underlay', (r) => (r.clientNBMA ? `${r.nbma} (it says ${r.clientNBMA})` : r.nbma) +
        (r.mark ? ` mark ${r.mark}` : ''), 'address'],
      ['Prefixes', (r) => r.prefixes.join(' '), 'address'],
    ]);
  }

  show(mesh, now, filter, chosen) {
    this.now = now;
    const all = [...mesh.routers.values()].filter((r) => r !== mesh.self);
    const wanted = filter.trim().toLowerCase();
    const found = all.filter((r) => !wanted || [r.identity, r.name, r.nbma, r.role,
      kinds[r.kind], ...r.addresses, ...r.prefixes].join(' ').toLowerCase().includes(wanted));
    const hubFirst = (r) => (r.role === 'hub' ? 0 : 1);
    found.sort((a, b) => hubFirst(a) - hubFirst(b) ||
      bad(a) - bad(b) || byAddress(a.id, b.id));
    write(this.note, countOf(all, found.length));
    this.table.show(found, (r) => r.id, (r) => ({
      'data-peer': r.id, 'data-kind': r.kind, 'data-nat': r.nat || null,
      'aria-selected': r.id === chosen ? 'true' : null,
    }), (r, from) => this.choose(r.id, from));
  }
}

// bad has what failed first. The others are not ordered by their state, so that rows do not jump.
function bad(r) {
  return worst[r.kind] === 0 ? 0 : 1;
}

// countOf says how many routers there are, by the kind of their paths.
function countOf(all, found) {
  const counts = new Map();
  for (const r of all) counts.set(r.kind, (counts.get(r.kind) ?? 0) + 1);
  const parts = Object.keys(worst).filter((k) => counts.has(k))
    .map((k) => `${counts.get(k)} ${kinds[k]}`);
  const shown = Math.min(found, mostRows);
  const some = shown < found ? `${shown} of ${all.length}: the filter finds the others` :
    shown < all.length ? `${shown} of ${all.length}` : `${all.length}`;
  return [some, ...parts].join(' · ');
}

// Pairs is the table of the paths between spokes that a hub knows of.
export class Pairs {
  constructor(table, explain) {
    this.explain = explain;
    this.now = 0;
    this.table = new Table(table, [
      ['Destination', (p) => p.destination, 'address'],
      ['From', (p) => p.from, 'address'],
      ['To', (p) => p.to, 'address'],
      ['State', (p) => (p.error ? `${p.state}: ${p.error}` : p.state), 'state'],
      ['Ago', (p) => span(this.now - p.last), 'number'],
    ]);
  }

  show(pairs, now) {
    this.now = now;
    this.table.show(pairs, (p) => `${p.from} ${p.to}`, (p) => ({
      'data-from': p.from, 'data-to': p.to, 'data-kind': p.kind,
    }), (p) => this.explain(p.destination, p.from));
  }
}

// Shortcuts is the table of this router's shortcuts and questions.
export class Shortcuts {
  constructor(table, explain) {
    this.now = 0;
    this.explain = explain;
    this.table = new Table(table, [
      ['Destination', (s) => s.prefix, 'address'],
      ['Router', (s) => s.next_hop ?? '–', 'address'],
      ['Identity', (s) => s.identity ?? '', 'name'],
      ['State', (s) => stateOf(s), 'state'],
      ['For', (s) => span(this.now - time(s.since)), 'number'],
      ['Used', (s) => (s.used ? span(this.now - time(s.used)) + ' ago' : ''), 'number'],
      ['Ends in', (s) => (s.expires ? span(time(s.expires) - this.now) : ''), 'number'],
    ]);
  }

  show(shortcuts, now) {
    this.now = now;
    const sorted = [...shortcuts].sort((a, b) => byAddress(a.prefix, b.prefix));
    this.table.show(sorted, (s) => s.prefix, (s) => ({
      'data-prefix': s.prefix, 'data-state': s.state,
    }), (s) => this.explain(inside(s.prefix), ''));
  }
}

function stateOf(s) {
  if (s.reason) return `${s.state}: ${s.reason}`;
  return s.state === 'up' && s.path ? `up, ${s.path}` : s.state;
}

// inside returns an address of a prefix, to explain the way there.
export function inside(prefix) {
  const [address, length] = prefix.split('/');
  if (address.includes(':')) return address;
  if (Number(length) >= 31) return address;
  const parts = address.split('.');
  parts[3] = String(Number(parts[3]) + 1);
  return parts.join('.');
}
