// Live events: one stream for all views of the tab, over the channels of the user and of the user's organizations. It goes on from the
// last event after an interruption. A tab that is hidden for a while closes it: browsers allow few connections to one server.
import { signal } from '@preact/signals';
import { epoch, get, pause, reachable, send } from './api';
import { user } from './session';
import type { List, Organization } from './types';

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

async function run(abort: AbortSignal) {
  let wait = 500;
  while (!abort.aborted) {
    const began = Date.now();
    try {
      await stream(abort);
    } catch {
      if (abort.aborted) return;
    }
    connected.value = false;
    wait = Date.now() - began > 10_000 ? 500 : Math.min(wait * 2, 20_000);
    await pause(wait * (0.75 + Math.random() / 2));
    while (!reachable.value && !abort.aborted) await pause(500);
  }
}

async function channels(): Promise<string> {
  const orgs = await get<List<Organization>>('/organizations', { limit: 90, fields: 'id' });
  return [`user:${user.value?.id ?? ''}`, ...orgs.items.map((org) => `org:${org.id}`)].join(',');
}

async function stream(abort: AbortSignal) {
  const answer = await send('GET', '/realtime/sse', {
    query: { channels: await channels() }, signal: abort, headers: { Accept: 'text/event-stream', ...(last && { 'Last-Event-ID': last }) },
  });
  connected.value = true;
  const reader = (answer.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split('\n\n');
    rest = blocks.pop() ?? '';
    blocks.forEach(receive);
  }
}

// receive reads one event of the stream.
function receive(block: string) {
  let type = '';
  let data = '';
  for (const line of block.split('\n')) {
    if (line.startsWith('id:')) last = line.slice(3).trim();
    else if (line.startsWith('event:')) type = line.slice(6).trim();
    else if (line.startsWith('data:')) data += line.slice(5);
  }
  if (type === 'reset') epoch.value++;
  else if (data) dispatch(JSON.parse(data) as Event);
}

function dispatch(event: Event) {
  listeners.get(event.type)?.forEach((listener) => listener(event as Event<never>));
}
