// The page: what comes from the daemon goes into the model, and the model onto the page.

import { Events } from './events.js';
import { Explain } from './explain.js';
import { Feed } from './feed.js';
import { Mesh, kinds } from './mesh.js';
import { Memory, Rates, build } from './model.js';
import { Pairs, Routers, Shortcuts, inside } from './tables.js';
import { byAddress, clock, draw, host, make, set, span, time, write } from './text.js';

const $ = (id) => document.getElementById(id);

const state = { status: null, sas: [], pairs: [], mesh: null, chosen: '', interface: '', at: 0 };
const rates = new Rates();
const memory = new Memory();
const mesh = new Mesh($('mesh'), $('mesh-note'), {
  chosen: choose,
  path: (p) => (p.between ? explain.open(p.destination, p.from) : choose(p.to, false)),
});
const routers = new Routers($('routers'), $('routers-note'), choose);
const pairs = new Pairs($('pairs'), (to, from) => explain.open(to, from));
const shortcuts = new Shortcuts($('shortcuts'), (to) => explain.open(to, ''));
const events = new Events($('events'), $('events-note'));
const explain = new Explain($('explain'));
const feed = new Feed({
  status: (status, sas, list, at, token) => {
    state.status = status;
    state.sas = sas;
    state.pairs = list;
    state.at = performance.now();
    rates.take(sas, at);
    $('logout').hidden = !token;
    show();
  },
  events: (list) => events.add(list),
  change: connection,
  locked: () => {
    state.locked = true;
    if (!$('login').open) $('login').showModal();
  },
});

// now returns the daemon's time, in milliseconds.
function now() {
  return time(state.status.now) + performance.now() - state.at;
}

// show shows the status.
function show() {
  const s = state.status;
  state.mesh = build(s, state.interface, rates, state.pairs, memory);
  facts(s);
  problems(s.problems);
  if (!state.mesh.self) return;
  state.interface = state.mesh.interface.name;
  interfaces(s.interfaces);
  mesh.show(state.mesh);
  tables();
  addresses();
}

function tables() {
  const m = state.mesh;
  routers.show(m, now(), $('filter').value, state.chosen);
  $('between').hidden = m.pairs.length === 0;
  pairs.show(m.pairs, now());
  $('questions').hidden = m.shortcuts.length === 0;
  shortcuts.show(m.shortcuts, now());
  const chosen = m.routers.get(state.chosen);
  explain.about($('explain').hidden ? null : chosen, now());
  events.show($('only').checked ? chosen : null);
}

function facts(s) {
  const i = state.mesh.interface;
  const role = !i ? '' : i.bindings.some((b) => !b.static) ? 'hub' : i.nhs.length > 0 ? 'spoke' : '';
  write($('name'), `Cygnet ${role}`);
  document.title = `${s.problems.length > 0 ? `(${s.problems.length}) ` : ''}Cygnet ${role} ` +
    (i ? host(i.address) : '');
  const name = state.sas.find((sa) => sa.interface === i?.name)?.local_identity;
  const list = [
    ['Name', name],
    ['Overlay', i?.addresses.join(' ')],
    ['Underlay', i && [i.nbma, i.second_nbma].filter(Boolean).join(' ') +
      (i.public_nbma ? ` (NAT: ${i.public_nbma})` : '')],
    ['Up', span(time(s.now) - time(s.started))],
    ['charon', s.strongswan.connected ? s.strongswan.version ?? 'connected' : 'NOT connected'],
    ['cygnetd', s.version],
  ].filter(([, text]) => text);
  const key = JSON.stringify(list);
  if ($('facts').dataset.key === key) return;
  $('facts').dataset.key = key;
  $('facts').replaceChildren(...list.map(([name, text]) =>
    make('div', {}, make('dt', {}, name), make('dd', {}, text))));
}

// mostProblems is how many problems are listed.
const mostProblems = 100;

function problems(list) {
  const key = JSON.stringify(list.map((p) => [p.code, p.interface, p.subject, p.text]));
  if ($('problem-list').dataset.key === key) return;
  $('problem-list').dataset.key = key;
  set($('problems'), { 'data-count': list.length });
  write($('problems-title'), list.length > 0 ? `Problems (${list.length})` : 'No problems');
  $('problem-list').replaceChildren(...list.slice(0, mostProblems).map((p) => make('li', {
    'data-severity': p.severity, 'data-code': p.code,
  }, make('b', {}, p.severity), make('span', {},
    (p.interface ? `${p.interface}: ` : '') + p.text + (p.remedy ? ' → ' : ''),
    p.remedy ? make('em', {}, p.remedy) : null))),
  ...(list.length > mostProblems ?
    [make('li', {}, `and ${list.length - mostProblems} more: cygnet status has all`)] : []));
}

function interfaces(list) {
  $('interfaces').hidden = list.length < 2;
  const names = list.map((i) => i.name);
  const select = $('interface');
  if ([...select.options].map((o) => o.value).join() !== names.join()) {
    select.replaceChildren(...names.map((name) => make('option', { value: name }, name)));
  }
  select.value = state.interface;
}

function addresses() {
  const all = [...state.mesh.routers.values()].flatMap((r) => r.addresses.map((a) => [a, r]));
  all.sort((a, b) => byAddress(a[0], b[0]));
  const key = all.map(([a]) => a).join();
  if ($('addresses').dataset.key === key) return;
  $('addresses').dataset.key = key;
  $('addresses').replaceChildren(...all.slice(0, 1000).map(([a, r]) =>
    make('option', { value: a, label: r.identity || r.role })));
}

// choose chooses a router, and explains the way to it: from this router or, with from, from the
// router that was chosen before.
function choose(id, from) {
  const before = state.mesh.routers.get(state.chosen);
  const r = state.mesh.routers.get(id);
  if (!r) return;
  state.chosen = id;
  mesh.choose(id);
  explain.open(destination(r), from && before && before !== r ? before.addresses[0] ?? '' : '');
  tables();
}

// destination returns the address that is explained for a router: behind it if there is a shortcut,
// otherwise its own.
function destination(r) {
  const s = r.shortcuts?.find((x) => x.state === 'up') ?? r.shortcuts?.[0];
  return s ? inside(s.prefix) : r.addresses[0] ?? '';
}

// connection tells whether what the page shows is what is.
function connection(value, text) {
  const old = value !== 'live' && state.status ? ` The page shows ${clock(state.status.now)}.` : '';
  set($('connection'), { 'data-state': value });
  write($('connection'), text + old);
  set(document.body, { 'data-connection': value });
}

function legend() {
  $('legend').append(...Object.entries(kinds).map(([kind, text]) => make('li', {},
    draw('svg', { viewBox: '0 0 28 8', 'aria-hidden': 'true' },
      draw('path', { class: 'path', 'data-kind': kind, 'data-rate': 0, d: 'M0 4L28 4' })), text)));
}

function begin() {
  legend();
  $('filter').addEventListener('input', () => state.mesh && tables());
  $('only').addEventListener('change', () => state.mesh && tables());
  $('arrange').addEventListener('click', () => mesh.arrange());
  $('interface').addEventListener('change', (e) => {
    state.interface = e.target.value;
    state.chosen = '';
    show();
  });
  document.addEventListener('keydown', (e) => {
    if (e.key === 'Escape') explain.close();
  });
  $('login-form').addEventListener('submit', login);
  $('login').addEventListener('close', () => { // Escape closes it: there is nothing behind it
    if (state.locked) $('login').showModal();
  });
  $('logout').addEventListener('click', logout);
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) feed.stop(); // nobody looks: the daemon has no work
    else feed.start();
  });
  if (!document.hidden) feed.start();
}

async function login(e) {
  e.preventDefault();
  const response = await fetch('/login', {
    method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ token: $('token').value }),
  }).catch(() => null);
  $('token').value = '';
  if (!response?.ok) {
    write($('login-error'), response ? 'That is not the token.' :
      'The server of this page does not answer.');
    return;
  }
  write($('login-error'), '');
  state.locked = false;
  $('login').close();
  feed.start();
}

async function logout() {
  await fetch('/logout', { method: 'POST' }).catch(() => null);
  location.reload();
}

begin();
