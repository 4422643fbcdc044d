// The list of events, newest first.

import { clock, make, set, write } from './text.js';

const most = 400; // events in the list

export class Events {
  constructor(list, note) {
    this.list = list;
    this.note = note;
    this.seen = 0;
    this.only = null; // shows only the events of a router
  }

  // add takes events, oldest first.
  add(events) {
    this.seen += events.length;
    for (const e of events.slice(-most)) {
      const line = this.line(e);
      line.event = e;
      line.hidden = !this.fits(e);
      this.list.prepend(line);
    }
    while (this.list.children.length > most) this.list.lastChild.remove();
    write(this.note, this.seen > most ? `the last ${most}` : '');
  }

  line(e) {
    const gap = e.event === 'gap';
    const line = make('li', { 'data-number': e.number, 'data-event': e.event,
      'data-level': gap ? 'warning' : e.level });
    if (gap) {
      line.append(make('span', { class: 'gap' }, e.text));
      return line;
    }
    line.append(make('time', { datetime: e.time, title: e.time }, clock(e.time)),
      make('span', { class: 'event' }, e.event), make('span', { class: 'words' }, sentence(e)));
    set(line, { title: `event ${e.number}` });
    return line;
  }

  // show shows only the events of a router, or all.
  show(router) {
    this.only = router;
    for (const line of this.list.children) line.hidden = !this.fits(line.event);
  }

  fits(e) {
    const r = this.only;
    if (!r || e.event === 'gap') return true;
    return r.addresses.includes(e.protocol) || r.addresses.includes(e.next_hop) ||
      (r.identity !== '' && r.identity === e.identity) || (r.nbma !== '' && r.nbma === e.nbma);
  }
}

// sentence returns an event in words: what happened, to what and to whom, and why.
export function sentence(e) {
  const about = [];
  if (e.protocol) about.push(e.protocol);
  else if (e.prefix) about.push(e.prefix);
  const name = e.identity || e.next_hop;
  if (name) about.push(e.nbma ? `${name} at ${e.nbma}` : name);
  else if (e.nbma) about.push(e.nbma);
  const words = [e.text];
  if (about.length > 0) words.push(about.join(', '));
  if (e.reason) words.push(e.reason);
  const took = e.took ? ` (took ${e.took.toFixed(2)} s)` : '';
  return (e.interface ? `${e.interface}: ` : '') + words.join(': ') + took;
}
