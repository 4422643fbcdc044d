// Where routers are drawn. A router keeps its place for as long as it is there, and for some time
// after, whatever others do: so that a mesh in which peers come and go can be watched.
//
// This router is in the middle, its hubs are above it, and all others are on ellipses around it. An
// ellipse has a fixed number of places. If all of the outer one are taken, the next one inside it
// begins. What has no place any more is one symbol: see rest.

const width = 1000;
const height = 640;
const middle = { x: width / 2, y: height / 2 };

// ellipses has the size of each ellipse, compared with the outer one, and its places.
const ellipses = [{ radius: 1, places: 36 }, { radius: 0.74, places: 30 },
  { radius: 0.48, places: 24 }];

// mostDrawn is how many routers are drawn besides this one and its hubs.
export const mostDrawn = ellipses.reduce((sum, e) => sum + e.places, 0);

// rest is where the symbol is for the routers that are not drawn.
export const rest = { x: width - 70, y: height - 40 };

const sizes = [6, 8, 10, 12, 16, 20, 24, 30, 36];

export class Places {
  constructor() {
    this.clear();
  }

  clear() {
    this.rings = []; // lists of ids; undefined: the place is free
    this.hubs = [];
    this.open = false; // there are hubs above, and no places there
    this.self = null;
  }

  // arrange gives a place to each router that has none. It returns where each is drawn, and the
  // routers that are not.
  arrange(mesh) {
    const all = [...mesh.routers.values()].filter((r) => r !== mesh.self);
    const hubs = new Set(all.filter((r) => r.role === 'hub').map((r) => r.id));
    const others = all.filter((r) => r.role !== 'hub');
    if (this.self !== mesh.self.id) {
      this.clear();
      this.self = mesh.self.id;
    }
    this.hubs = this.hubs.filter((id) => hubs.has(id));
    for (const id of hubs) if (!this.hubs.includes(id)) this.hubs.push(id);
    const { shown, hidden } = this.choose(others, mesh);
    this.seat(shown);
    return { at: this.points(mesh), hidden };
  }

  // choose returns the routers that are drawn: if there are too many, those that tell most, and of
  // equal ones those that have a place.
  choose(others, mesh) {
    if (others.length <= mostDrawn) return { shown: others, hidden: [] };
    const linked = new Set(mesh.paths.filter((p) => p.between).flatMap((p) => [p.from, p.to]));
    const seated = new Set(this.rings.flat());
    const worth = (r) => (r.role === 'client' ? 0 : 8) + (r.kind === 'failed' ? 4 : 0) +
      (r.kind === 'setup' ? 2 : 0) + (linked.has(r.id) ? 4 : 0) + (seated.has(r.id) ? 1 : 0);
    const sorted = others.map((r) => [worth(r), r]).sort((a, b) => b[0] - a[0]).map((x) => x[1]);
    return { shown: sorted.slice(0, mostDrawn), hidden: sorted.slice(mostDrawn) };
  }

  // seat gives places to those that have none.
  seat(shown) {
    this.handOver(shown);
    const wanted = new Set(shown.map((r) => r.id));
    const seated = new Set(this.rings.flat());
    const news = shown.map((r) => r.id).filter((id) => !seated.has(id));
    if (this.rings.length === 0) {
      this.open = this.hubs.length > 0;
      this.rings.push(new Array(sizes.find((n) => n >= news.length) ?? ellipses[0].places));
    }
    for (const id of news) {
      const [ring, n] = this.free(wanted, news.length);
      ring[n] = id;
    }
  }

  // handOver gives a router whose overlay address became known the place that it had without.
  handOver(shown) {
    const ids = new Set(shown.map((r) => r.id));
    const byPlace = new Map(shown.filter((r) => r.addresses.length > 0)
      .map((r) => [r.mark ? `${r.nbma}#${r.mark}` : r.nbma, r.id]));
    const seated = new Set(this.rings.flat());
    for (const ring of this.rings) {
      ring.forEach((id, n) => {
        const now = byPlace.get(id);
        if (now !== undefined && !ids.has(id) && !seated.has(now)) ring[n] = now;
      });
    }
  }

  // free returns a place that nobody has. The place of a router that has gone is taken only when no
  // ellipse can be added, so that the router finds it again.
  free(wanted, coming) {
    for (const ring of this.rings) {
      const n = spread(ring.length, coming).find((k) => ring[k] === undefined);
      if (n !== undefined) return [ring, n];
    }
    if (this.rings.length < ellipses.length) {
      const ring = new Array(ellipses[this.rings.length].places);
      this.rings.push(ring);
      return [ring, 0];
    }
    for (const ring of this.rings) {
      const n = ring.findIndex((id) => !wanted.has(id));
      if (n >= 0) return [ring, n];
    }
    return [this.rings[0], 0]; // an ellipse that began small leaves less room than mostDrawn
  }

  points(mesh) {
    const at = new Map([[mesh.self.id, middle]]);
    this.hubs.forEach((id, n) => {
      const step = Math.min(220, 800 / this.hubs.length);
      at.set(id, { x: middle.x + (n - (this.hubs.length - 1) / 2) * step, y: 50 });
    });
    const gap = this.open ? Math.PI * 0.4 : 0;
    this.rings.forEach((ring, k) => {
      const { radius } = ellipses[k];
      ring.forEach((id, n) => {
        if (id === undefined) return;
        const turn = gap / 2 + (n + (this.open ? 0.5 : k / 2)) *
          ((2 * Math.PI - gap) / ring.length);
        at.set(id, {
          x: middle.x + Math.sin(turn) * 420 * radius, y: middle.y - Math.cos(turn) * 250 * radius,
        });
      });
    });
    return at;
  }
}

// spread returns the order in which the places of an ellipse are taken: one after another if many
// come at once, otherwise far from each other.
function spread(length, coming) {
  const all = [...Array(length).keys()];
  if (coming > length / 2) return all;
  const bits = Math.ceil(Math.log2(length));
  const turned = (n) => parseInt(n.toString(2).padStart(bits, '0').split('').reverse().join(''), 2);
  return all.sort((a, b) => turned(a) - turned(b));
}
