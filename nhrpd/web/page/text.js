// Making elements, and putting values into words. All text goes into the page as text nodes, because
// identities are chosen by other routers.

const SVG = 'http://www.w3.org/2000/svg';

// make returns an element with attributes and children. A child that is no node becomes text.
export function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

// draw is make for SVG.
export function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  set(element, attributes);
  element.append(...children.filter((c) => c !== null && c !== undefined)
    .map((c) => (c instanceof Node ? c : clean(c))));
  return element;
}

// set sets attributes that differ, and removes those that are null or undefined.
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) {
      element.removeAttribute(name);
    } else {
      const text = value === true ? '' : clean(value);
      if (element.getAttribute(name) !== text) element.setAttribute(name, text);
    }
  }
}

// write sets an element's text, if it differs.
export function write(element, text) {
  const wanted = clean(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

const most = 500;

// clean returns a value as text of limited length, with a question mark for each control character
// and each character that turns the direction of text.
export function clean(value) {
  const text = String(value ?? '')
    .replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, '?');
  return text.length > most ? text.slice(0, most) + '…' : text;
}

// time returns an RFC 3339 time in milliseconds; NaN if there is none.
export function time(text) {
  return text ? Date.parse(text) : NaN;
}

// span returns a duration in milliseconds in words, such as 3m20s.
export function span(ms) {
  if (!Number.isFinite(ms)) return '';
  let s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return s + 's';
  const d = Math.floor(s / 86400);
  const h = Math.floor((s % 86400) / 3600);
  const m = Math.floor((s % 3600) / 60);
  s %= 60;
  if (d > 0) return `${d}d${h}h`;
  if (h > 0) return `${h}h${m}m`;
  return s > 0 ? `${m}m${s}s` : `${m}m`;
}

// clock returns the time of day.
export function clock(text) {
  const t = new Date(text);
  const two = (n) => String(n).padStart(2, '0');
  return `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
}

// rate returns bytes a second as bits a second.
export function rate(bytes) {
  if (bytes === undefined || bytes === null) return '';
  const bits = bytes * 8;
  for (const [unit, size] of [['Gbit/s', 1e9], ['Mbit/s', 1e6], ['kbit/s', 1e3]]) {
    if (bits >= size) return short(bits / size) + ' ' + unit;
  }
  return bits < 1 ? '0' : Math.round(bits) + ' bit/s';
}

// size returns a number of bytes.
export function size(bytes) {
  for (const [unit, n] of [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]]) {
    if (bytes >= n) return short(bytes / n) + ' ' + unit;
  }
  return bytes + ' B';
}

function short(n) {
  return n >= 100 ? n.toFixed(0) : n.toFixed(1);
}

// host returns an address without the length of its prefix.
export function host(prefix) {
  return prefix.split('/')[0];
}

// byAddress compares addresses as numbers, as far as they have some.
export const byAddress = new Intl.Collator('en', { numeric: true }).compare;
