// The panel with the account of why traffic goes the way it goes.

import { Failure, ask } from './feed.js';
import { make, rate, size, span, time } from './text.js';

export class Explain {
  constructor(panel) {
    this.panel = panel;
    this.form = panel.querySelector('form');
    this.to = panel.querySelector('#explain-to');
    this.from = panel.querySelector('#explain-from');
    this.router = panel.querySelector('#explain-router');
    this.answer = panel.querySelector('#explain-answer');
    this.opener = null; // what had the focus before
    this.form.addEventListener('submit', (e) => {
      e.preventDefault();
      this.ask();
    });
    panel.querySelector('#explain-close').addEventListener('click', () => this.close());
  }

  // open opens the panel and asks.
  open(to, from) {
    if (this.panel.hidden) this.opener = document.activeElement;
    this.panel.hidden = false;
    document.body.classList.add('open');
    this.to.value = to;
    this.from.value = from;
    this.panel.querySelector('#explain-close').focus({ preventScroll: true });
    if (to) this.ask();
    else this.answer.replaceChildren();
  }

  close() {
    if (this.panel.hidden) return;
    this.panel.hidden = true;
    document.body.classList.remove('open');
    this.asking?.abort();
    if (this.opener?.isConnected) this.opener.focus({ preventScroll: true });
  }

  // about shows what is known of the router.
  about(router, now) {
    this.router.replaceChildren(...(router ? [facts(routerFacts(router, now))] : []));
  }

  async ask() {
    this.asking?.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    const query = new URLSearchParams({ destination: this.to.value.trim() });
    if (this.from.value.trim()) query.set('source', this.from.value.trim());
    this.answer.replaceChildren(make('p', { class: 'note' }, 'Asking…'));
    try {
      const { body } = await ask('/v1/explain?' + query, signal);
      this.answer.replaceChildren(...account(body));
    } catch (e) {
      if (signal.aborted) return;
      if (!(e instanceof Failure)) console.error(e);
      this.answer.replaceChildren(make('p', { class: 'error' }, e.message));
    }
  }
}

function routerFacts(r, now) {
  return [
    ['Router', r.identity || r.name || r.id],
    ['Overlay', r.addresses.join(' ')],
    ['Underlay', r.nbma],
    ['Role', r.role],
    ['State', [r.state, span(now - time(r.since))].filter(Boolean).join(' for ')],
    ['Why', r.error],
    ['NAT', r.nat && { here: 'this router is behind NAT', there: 'it is behind NAT',
      both: 'both are behind NAT' }[r.nat]],
    ['Rate', r.in === undefined ? '' : `${rate(r.in)} in, ${rate(r.out)} out`],
    ['Bytes', r.totalIn === undefined ? '' :
      `${size(r.totalIn)} in, ${size(r.totalOut)} out`],
    ['Flaps', r.peer?.flaps ? `lost its SA ${r.peer.flaps} times in the last hour` : ''],
    ['Prefixes', r.prefixes.join(' ')],
  ];
}

function facts(list) {
  return make('dl', { class: 'facts' }, ...list.filter(([, text]) => text)
    .flatMap(([name, text]) => [make('dt', {}, name), make('dd', {}, text)]));
}

// account returns the elements of an account. Its words are those of cygnet explain: the server of
// the page makes them.
function account({ pair, verdict, steps }) {
  return [
    make('p', { class: 'verdict', 'data-path': verdict.path }, make('b', {}, pair + ': '),
      verdict.text),
    verdict.next && make('p', { class: 'next' }, verdict.next),
    make('ol', { class: 'steps' }, ...steps.map(({ title, lines }) =>
      make('li', {}, make('b', {}, title), ...lines.map((line) => make('p', {}, line))))),
  ].filter(Boolean);
}
