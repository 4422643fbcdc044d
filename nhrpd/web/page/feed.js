// What the daemon tells, over the server of this page: the status, again and again, and the events
// as they happen. A failure is told and tried again; it never ends the feed.

const shortest = 2000; // milliseconds between two looks at the status
const longest = 30000; // and the longest wait after failures
const settle = 300; // from an event until the status is looked at

// Failure is an answer that is none: the server of the page or the daemon does not answer, or
// refuses.
export class Failure extends Error {
  constructor(text, code) {
    super(text);
    this.code = code; // of HTTP; 0: the server of the page does not answer
  }
}

// ask returns an answer of the API, and when the daemon gave it.
export async function ask(path, signal) {
  let response;
  try {
    response = await fetch('/api' + path, { signal, cache: 'no-store' });
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Failure('The server of this page does not answer: cygnet web has ended, or the ' +
      'network is gone.', 0);
  }
  if (!response.ok) throw await refusal(response);
  const at = Number(response.headers.get('Cygnet-At')) || Date.now();
  return { body: await response.json(), at, token: response.headers.has('Cygnet-Token') };
}

async function refusal(response) {
  let text = `the server of this page answered ${response.status}`;
  try {
    text = (await response.json()).error || text;
  } catch { /* no JSON: the code has to do */ }
  return new Failure(text, response.status);
}

// Feed asks and listens. Its hooks are called with what comes:
//   status(status, sas, pairs, at, token)   events(list)   change(state, text)   locked()
export class Feed {
  constructor(hooks) {
    this.hooks = hooks;
    this.running = null; // aborts what is under way
    this.events = { last: 0, journal: '' };
    this.polled = false;
    this.streaming = false;
    this.error = '';
  }

  start() {
    if (this.running) return;
    this.running = new AbortController();
    this.tell();
    this.poll(this.running.signal);
    this.listen(this.running.signal);
  }

  stop() {
    this.running?.abort();
    this.running = null;
    this.streaming = false;
    this.polled = false;
  }

  // soon has the status looked at a moment from now, and not only at the next turn.
  soon() {
    this.hurry?.();
  }

  tell() {
    if (this.error) this.hooks.change('gone', this.error);
    else if (this.polled && this.streaming) this.hooks.change('live', 'Live');
    else this.hooks.change('reconnecting', this.polled ? 'Reconnecting the events…' : 'Connecting…');
  }

  async poll(signal) {
    let wait = shortest;
    while (!signal.aborted) {
      const began = performance.now();
      try {
        await this.look(signal);
        this.error = '';
        this.polled = true;
        // A large hub's status is work for the daemon and for the browser.
        wait = Math.max(shortest, 8 * (performance.now() - began));
      } catch (e) {
        if (signal.aborted) return;
        this.failed(e);
        wait = Math.min(longest, 1.5 * wait);
        if (wait > 6000 && e.code) wait = 6000;
      }
      this.tell();
      await this.pause(wait, signal);
    }
  }

  async look(signal) {
    const [status, sas, pairs] = await Promise.all([
      ask('/v1/status', signal), ask('/v1/sas', signal),
      ask('/v1/pairs', signal).catch((e) => {
        if (e.code === 404) return { body: [] }; // a daemon of an earlier version
        throw e;
      }),
    ]);
    this.hooks.status(status.body, sas.body, pairs.body, sas.at, status.token);
  }

  failed(e) {
    if (e.code === 401) {
      this.stop();
      this.hooks.locked();
      return;
    }
    if (!(e instanceof Failure)) console.error(e);
    this.error = e instanceof Failure ? e.message : 'This page could not show an answer: ' +
      e.message;
    this.polled = false;
  }

  // pause waits, unless somebody wants to hurry.
  pause(ms, signal) {
    return new Promise((done) => {
      const end = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        done();
      };
      let timer = setTimeout(end, ms);
      signal.addEventListener('abort', end);
      this.hurry = () => {
        clearTimeout(timer);
        timer = setTimeout(end, settle);
        this.hurry = null;
      };
    });
  }

  async listen(signal) {
    for (let wait = 1000; !signal.aborted;) {
      try {
        await this.stream(signal, () => { wait = 1000; });
      } catch (e) {
        if (signal.aborted) return;
        if (e.code === 401) return; // the other loop tells
        wait = Math.min(longest, 1.5 * wait);
        if (!(e instanceof Failure) && e.name !== 'TypeError') console.error(e);
      }
      if (signal.aborted) return;
      this.streaming = false;
      this.tell();
      await new Promise((done) => { setTimeout(done, wait); });
    }
  }

  // stream reads events until the stream ends.
  async stream(signal, begun) {
    const query = new URLSearchParams({ follow: 'true' });
    if (this.events.journal) {
      query.set('since', this.events.last);
      query.set('journal', this.events.journal);
    } else {
      query.set('since', '1h');
    }
    const response = await fetch('/api/v1/events?' + query, { signal, cache: 'no-store' });
    if (!response.ok) throw await refusal(response);
    const journal = response.headers.get('Cygnet-Journal') ?? '';
    if (this.events.journal && journal !== this.events.journal) this.events.last = 0;
    this.events.journal = journal;
    this.streaming = true;
    begun();
    this.tell();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ''; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      this.take(lines.filter(Boolean).map((line) => JSON.parse(line)));
    }
  }

  take(list) {
    if (list.length === 0) return;
    for (const e of list) if (e.number) this.events.last = e.number;
    this.hooks.events(list);
    this.soon();
  }
}
