// Live events: one stream for all views of the tab, over the channels of the user and of the user's organizations. It goes on from where
// it was after an interruption. A tab that is hidden for a while closes it: browsers allow few connections to one server.
import { signal } from '@preact/signals';
import { api, epoch, pause } from './api';
import { user } from './session';

export interface Event<T = unknown> { type: string; at: string; data: T }
type Listener = (event: Event<never>) => void;

export const connected = signal(false);

const listeners = new Map<string, Set<Listener>>();

// on calls the listener with each event of the type, until what it returns is called.
export function on<T>(type: string, listener: (data: T, at: string) => void): () => void {
  const each: Listener = (event) => listener(event.data, event.at);
  const all = listeners.get(type) ?? new Set();
  listeners.set(type, all.add(each));
  return () => all.delete(each);
}

let listening = false;
let running: AbortController | null = null;
let last = '';
let hiddenFor: ReturnType<typeof setTimeout> | undefined;

// listen follows the events from now on.
export function listen() {
  if (listening) return start();
  listening = true;
  // The server is there again: without waiting for the next attempt.
  epoch.subscribe(() => {
    if (running && !connected.value) { stop(); start(); }
  });
  document.addEventListener('visibilitychange', () => {
    clearTimeout(hiddenFor);
    if (document.hidden) hiddenFor = setTimeout(stop, 60_000);
    else start();
  });
  start();
}

export function stop() {
  running?.abort();
  running = null;
  connected.value = false;
}

export function start() {
  if (running || !user.value) return;
  running = new AbortController();
  void run(running.signal);
}

// restart joins the channels anew, for the user's organizations have changed.
export function restart() {
  stop();
  last = '';
  start();
}

async function run(signal: AbortSignal) {
  const state = {
    onOpen: () => {
      if (signal.aborted) return;
      connected.value = true;
      if (!last) epoch.value++; // what the views have read so far is older than the stream
    },
    onClose: () => { if (!signal.aborted) connected.value = false; },
    onPosition: (id: string) => { if (!signal.aborted) last = id; },
  };
  while (!signal.aborted) {
    try {
      for await (const event of api.follow({ channels: await channels(), lastID: last, signal, ...state })) {
        if (event.type === 'reset') epoch.value++;
        else dispatch(event);
      }
    } catch {
      await pause(2000); // refused: the user is no longer in an organization, and the channels are others
    }
  }
}

async function channels(): Promise<string[]> {
  const orgs = await api.listOrganizations({ limit: 90, fields: 'id' });
  return [`user:${user.value?.id ?? ''}`, ...orgs.items.map((org) => `org:${org.id}`)];
}

function dispatch(event: Event) {
  listeners.get(event.type)?.forEach((listener) => listener(event as Event<never>));
}
