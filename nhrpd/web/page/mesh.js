// Draws the mesh as SVG, and has it used by mouse and keyboard.
//
// Each router is a g.router[data-peer], each path a .path[data-from][data-to][data-kind]. Elements
// stay for as long as what they show, so that focus and choice stay as well. A path that has gone
// is drawn for some seconds more, with the kind "gone".

import { Places, rest } from './layout.js';
import { draw, set, write } from './text.js';

const leave = 6000; // milliseconds for which a path that has gone is drawn

// kinds has the words of each kind of path, in the order of the legend.
export const kinds = {
  hub: 'hub and client',
  direct: 'direct, proven',
  unproven: 'SA, not proven',
  setup: 'being set up',
  failed: 'failed',
  reserve: 'in reserve',
  told: 'told of a shorter way',
  asked: 'question passed on',
  gone: 'just gone',
};

// withNAT returns the words of a path, with NAT if there is some.
export function withNAT(path) {
  const kind = kinds[path.kind] ?? path.kind;
  return path.nat ? `${kind}, NAT` : kind;
}

export class Mesh {
  // chosen is called with the id of a router, and whether the way from the one chosen before is
  // wanted; pair with a path between two other routers.
  constructor(svg, note, hooks) {
    this.svg = svg;
    this.note = note;
    this.hooks = hooks;
    this.places = new Places();
    this.paths = new Map();
    this.routers = new Map();
    this.layers = ['paths', 'between', 'nodes'].map((name) => draw('g', { class: name }));
    this.rest = draw('g', { class: 'rest', transform: `translate(${rest.x} ${rest.y})` },
      draw('circle', { r: 16 }), draw('circle', { r: 11 }), draw('text', { y: 34 }));
    svg.append(...this.layers, this.rest);
    svg.addEventListener('keydown', (e) => this.key(e));
    svg.addEventListener('click', (e) => this.click(e));
  }

  arrange() {
    this.places.clear();
    if (this.mesh) this.show(this.mesh);
  }

  // show draws a mesh.
  show(mesh) {
    this.mesh = mesh;
    const { at, hidden } = this.places.arrange(mesh);
    const drawn = [...mesh.routers.values()].filter((r) => at.has(r.id) &&
      !hidden.includes(r));
    const bad = drawn.filter((r) => r.kind === 'failed').length;
    set(this.svg, { 'data-crowded': drawn.length > 26, 'data-many-bad': bad > 8 });
    this.suffix = commonSuffix(mesh.routers.values());
    this.showPaths(mesh.paths, at, new Set(drawn.map((r) => r.id)));
    this.showRouters(drawn, at);
    this.rest.toggleAttribute('hidden', hidden.length === 0);
    write(this.rest.lastChild, `${hidden.length} more`);
    write(this.note, hidden.length > 0 ?
      `${hidden.length} routers without anything special are not drawn: the table has all` : '');
  }

  showRouters(drawn, at) {
    const there = new Set();
    for (const r of drawn) {
      there.add(r.id);
      let g = this.routers.get(r.id);
      if (!g) {
        g = draw('g', { class: 'router', 'data-peer': r.id, role: 'button', tabindex: -1 },
          draw('circle', {}), draw('text', { class: 'label' }), draw('text', { class: 'small' }),
          draw('title'));
        this.routers.set(r.id, g);
        this.layers[2].append(g);
      }
      this.showRouter(g, r, at.get(r.id));
    }
    for (const [id, g] of this.routers) {
      if (there.has(id)) continue;
      g.remove();
      this.routers.delete(id);
    }
    if (![...this.routers.values()].some((g) => g.getAttribute('tabindex') === '0')) {
      this.routers.get(this.mesh.self.id)?.setAttribute('tabindex', 0);
    }
  }

  showRouter(g, r, at) {
    const [circle, label, small, title] = g.children;
    const radius = r.role === 'this router' || r.role === 'hub' ? 15 : 9;
    const name = shorten(labelOf(r), this.suffix);
    set(g, {
      transform: `translate(${at.x.toFixed(1)} ${at.y.toFixed(1)})`, 'data-role': r.role,
      'data-kind': r.kind, 'data-nat': r.nat || null, 'aria-label': describe(r),
      'aria-pressed': r.id === this.chosen ? 'true' : 'false',
    });
    set(circle, { r: radius });
    set(label, { y: radius + 18 });
    set(small, { y: radius + 34 });
    write(label, name.length > 22 ? name.slice(0, 21) + '…' : name);
    write(small, (labelOf(r) === r.id ? r.state : r.id) + (behindNAT(r) ? ' · NAT' : ''));
    write(title, describe(r));
  }

  showPaths(paths, at, drawn) {
    const there = new Set();
    for (const p of paths) {
      if (!drawn.has(p.from) || !drawn.has(p.to)) continue;
      const key = `${p.from} ${p.to} ${p.between ? 'between' : ''}`;
      there.add(key);
      let line = this.paths.get(key);
      if (!line) {
        line = draw('path', { class: 'path', 'data-from': p.from, 'data-to': p.to });
        // What the mouse hits is wider than the line, and has no gaps.
        line.target = draw('path', { class: 'target' }, draw('title'));
        line.target.line = line;
        this.paths.set(key, line);
        this.layers[p.between ? 1 : 0].append(line, line.target);
      }
      line.shown = p;
      line.gone = null;
      const d = curve(at.get(p.from), at.get(p.to), p.between);
      set(line, {
        d, 'data-kind': p.kind, 'data-nat': p.nat || null, 'data-rate': weight(p.rate),
      });
      set(line.target, { d });
      write(line.target.firstChild, `${p.from} – ${p.to}: ${withNAT(p)}: ${p.text}`);
    }
    this.leave(there, at);
  }

  // leave keeps the paths that have gone for a while.
  leave(there, at) {
    const now = performance.now();
    for (const [key, line] of this.paths) {
      if (there.has(key)) continue;
      line.gone ??= now;
      const [from, to] = [at.get(line.dataset.from), at.get(line.dataset.to)];
      if (now - line.gone > leave || !from || !to) {
        line.target.remove();
        line.remove();
        this.paths.delete(key);
        continue;
      }
      const d = curve(from, to, line.shown.between);
      set(line, { d, 'data-kind': 'gone', 'data-rate': null });
      set(line.target, { d });
    }
  }

  // choose marks a router as the chosen one.
  choose(id) {
    this.chosen = id;
    for (const [other, g] of this.routers) {
      set(g, { 'aria-pressed': other === id ? 'true' : 'false' });
    }
  }

  click(e) {
    const g = e.target.closest('g.router');
    if (g) {
      this.focus(g.dataset.peer);
      this.hooks.chosen(g.dataset.peer, e.shiftKey);
      return;
    }
    const { line } = e.target;
    if (line) this.hooks.path(line.shown);
  }

  key(e) {
    const g = e.target.closest('g.router');
    if (!g) return;
    if (e.key === 'Enter' || e.key === ' ') {
      this.hooks.chosen(g.dataset.peer, e.shiftKey);
    } else if (e.key === 'Home') {
      this.focus(this.mesh.self.id);
    } else {
      const next = this.next(g, e.key);
      if (!next) return;
      this.focus(next.dataset.peer);
    }
    e.preventDefault();
  }

  // next returns the nearest router in the direction of an arrow key.
  next(from, key) {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1],
      ArrowDown: [0, 1] }[key];
    if (!direction) return null;
    const place = (g) => g.transform.baseVal.consolidate().matrix;
    const here = place(from);
    let best = null;
    for (const g of this.routers.values()) {
      const there = place(g);
      const [dx, dy] = [there.e - here.e, there.f - here.f];
      const ahead = dx * direction[0] + dy * direction[1];
      const aside = Math.abs(dx * direction[1]) + Math.abs(dy * direction[0]);
      if (g === from || ahead <= 0.5) continue;
      const far = ahead + 2 * aside;
      if (!best || far < best.far) best = { g, far };
    }
    return best?.g;
  }

  // focus moves the focus to a router.
  focus(id) {
    for (const [other, g] of this.routers) set(g, { tabindex: other === id ? 0 : -1 });
    this.routers.get(id)?.focus({ preventScroll: true });
  }
}

// labelOf returns the name of a router in the drawing.
export function labelOf(r) {
  if (r.role === 'this router') return 'this router';
  return r.identity || r.name || r.id;
}

// commonSuffix returns the domain that most routers' names end in; "" if there is none.
function commonSuffix(routers) {
  const counts = new Map();
  let named = 0;
  for (const r of routers) {
    const label = labelOf(r);
    if (label === r.id || r.role === 'this router') continue;
    named++;
    const dot = label.indexOf('.');
    if (dot > 0) counts.set(label.slice(dot), (counts.get(label.slice(dot)) ?? 0) + 1);
  }
  for (const [suffix, n] of counts) if (n > 1 && n > named / 2) return suffix;
  return '';
}

// behindNAT reports whether a router itself is behind NAT. That this router is, is said of it alone.
function behindNAT(r) {
  return r.role === 'this router' ? r.nat !== '' : r.nat === 'there' || r.nat === 'both';
}

function shorten(label, suffix) {
  return suffix && label.endsWith(suffix) ? label.slice(0, -suffix.length) : label;
}

// describe says in a line what a router is and how the way to it is.
export function describe(r) {
  const words = [labelOf(r)];
  if (labelOf(r) !== r.id) words.push(r.id);
  if (r.role !== 'this router') words.push(r.role);
  words.push(r.state);
  if (r.nat) words.push(`NAT ${r.nat}`);
  if (r.error) words.push(r.error);
  return words.join(', ');
}

// curve returns a line between two points. One between two spokes is bent towards the middle, so
// that it does not run through the routers beside them.
function curve(a, b, bent) {
  const point = (p) => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`;
  if (!bent) return `M${point(a)}L${point(b)}`;
  const middle = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  const far = Math.hypot(middle.x - 500, middle.y - 320);
  // Two routers opposite each other would have their line run through the middle.
  const bend = far < 60 ? { x: middle.x + (b.y - a.y) * 0.18, y: middle.y - (b.x - a.x) * 0.18 } :
    { x: middle.x + (500 - middle.x) * 0.35, y: middle.y + (320 - middle.y) * 0.35 };
  return `M${point(a)}Q${point(bend)} ${point(b)}`;
}

// weight returns how thick a path is drawn: 0 to 4, by the bytes a second.
function weight(bytes) {
  return Math.max(0, Math.min(4, Math.floor(Math.log10((bytes ?? 0) * 8 + 1) - 3)));
}
