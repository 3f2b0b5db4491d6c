// What the gateway tells: the last status, the last minutes of each listener, and the events. All of it is bounded.
//
// Moments are seconds of performance.now(), which no calendar clock moves: a page that shows clock steps must not jump
// with them.

export const KEPT_SECONDS = 600;
const KEPT_EVENTS = 256;

export const now = () => performance.now() / 1000;

export class Feed {
  constructor(onChange) {
    this.onChange = onChange;
    this.forget();
    this.status = null;
    this.state = 'waiting';
  }

  forget() {
    this.traffic = new Map();
    this.skew = new Map();
    this.events = new Map();
  }

  connect() {
    const source = new EventSource('/events');
    const on = (name, take) => source.addEventListener(name, (message) => {
      take(JSON.parse(message.data));
      this.state = 'live';
      this.onChange();
    });
    // A new connection tells everything again.
    source.addEventListener('open', () => this.forget());
    source.addEventListener('error', () => {
      this.state = 'lost';
      this.onChange();
      // The browser comes back by itself unless the answer was no stream at all.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.connect(), 3000);
    });
    on('status', (status) => this.takeStatus(status));
    on('traffic', ({ profile, windows }) => {
      append(this.traffic, profile, windows.map((window) => ({ ...window, at: now() - window.age_s })));
    });
    on('skew', ({ profile, points }) => {
      append(this.skew, profile, points.map(([age, lo, hi]) => ({ at: now() - age, lo, hi })));
    });
    on('event', (event) => this.takeEvent(event));
  }

  takeStatus(status) {
    this.status = status;
    for (const { profile, clock } of status.listeners) {
      const known = clock.local_minus_server_s;
      append(this.skew, profile, [{ at: now(), lo: known?.lo ?? null, hi: known?.hi ?? null }]);
    }
  }

  takeEvent(event) {
    // An event that repeats moves to the end.
    this.events.delete(event.key);
    this.events.set(event.key, { ...event, at: now() - event.age_s });
    while (this.events.size > KEPT_EVENTS) this.events.delete(this.events.keys().next().value);
  }

  // Events of a listener and of the gateway itself, newest first.
  eventsOf(profile) {
    const mine = [...this.events.values()].filter((event) => event.profile === null || event.profile === profile);
    // What happened in the same moment keeps its order.
    return mine.reverse().sort((left, right) => Math.round(right.at * 50) - Math.round(left.at * 50));
  }

  // When and why a caller of this listener last saw a 401, if that was within the last minutes.
  seenBy(profile) {
    const last = (this.traffic.get(profile) ?? []).filter((window) => window.visible_401 > 0).at(-1);
    if (!last || now() - last.at > SEEN_MATTERS_FOR) return null;
    const verdict = this.eventsOf(profile).find((event) => event.event === 'verdict' && event.status === 401);
    return { ago: now() - last.at, cause: verdict?.cause };
  }
}

function append(map, profile, points) {
  const all = [...(map.get(profile) ?? []), ...points];
  map.set(profile, all.filter((point) => now() - point.at <= KEPT_SECONDS));
}

const SEEN_MATTERS_FOR = 300;
