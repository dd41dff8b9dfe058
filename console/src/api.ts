// The client of the API: one function for calls, one for downloads. A call whose session has ended waits until the user has signed in
// again, so that no form loses what it holds.
import { signal } from '@preact/signals';
import { access, expired, signInAgain } from './session';

// What a request failed with, as the API says it (RFC 9457).
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly fields: Record<string, string> = {},
    readonly retryAfter = 0,
  ) {
    super(message);
  }
}

// reachable is false from a request that found no server until one that did.
export const reachable = signal(true);

// epoch changes when what is shown must be read anew: after a time without the server, and when live events were lost.
export const epoch = signal(0);

export interface Options {
  query?: Record<string, string | number | boolean | null | undefined>;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  anonymous?: boolean;
}

export function address(path: string, query: Options['query'] = {}): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '' && value !== false);
  return path + (pairs.length ? '?' + new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString() : '');
}

const upper = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

async function problemOf(answer: Response): Promise<Problem> {
  const body = (await answer.json().catch(() => ({}))) as {
    code?: string; detail?: string; errors?: { location: string; message: string }[] | null;
  };
  const fields: Record<string, string> = {};
  const texts: string[] = [];
  for (const { location, message } of body.errors ?? []) {
    const name = location.replace(/^(body|query|path)\.?/, '');
    fields[name] = upper(message);
    texts.push(name ? `${name.replaceAll('_', ' ')} ${message}` : message);
  }
  const text = texts.join('; ') || body.detail || `the server answered ${answer.status}`;
  return new Problem(answer.status, body.code ?? 'unknown', upper(text), fields, Number(answer.headers.get('Retry-After') ?? 0));
}

// send makes one request. It fails with a Problem, or with the AbortError of options.signal.
export async function send(method: string, path: string, options: Options = {}): Promise<Response> {
  for (let attempt = 0; ; attempt++) {
    if (!options.anonymous && expired.value) await signInAgain();
    const token = options.anonymous ? '' : await access();
    if (!options.anonymous && expired.value) continue; // it turned out while refreshing
    const headers: Record<string, string> = { ...options.headers };
    if (token) headers.Authorization = `Bearer ${token}`;
    if (options.body !== undefined) headers['Content-Type'] ??= 'application/json';
    let answer: Response;
    try {
      answer = await fetch(address('/api/v1' + path, options.query), {
        method, headers,
        body: options.body === undefined ? null : typeof options.body === 'string' ? options.body : JSON.stringify(options.body),
        signal: options.signal ?? null,
      });
    } catch (e) {
      if (options.signal?.aborted) throw e;
      unreachable();
      throw new Problem(0, 'unreachable', 'The server cannot be reached. Try again in a moment.');
    }
    reachable.value = true;
    if (answer.ok) return answer;
    const problem = await problemOf(answer);
    if (answer.status === 401 && token && problem.code !== 'invalid_credentials' && attempt < 2) {
      await access(token); // another token, or none: then the session has ended
      continue;
    }
    // Reading waits out a short limit; what changes something is left to the user.
    if (answer.status === 429 && method === 'GET' && problem.retryAfter <= 20 && attempt < 2) {
      await pause(Math.max(1, problem.retryAfter) * 1000);
      options.signal?.throwIfAborted();
      continue;
    }
    throw problem;
  }
}

export const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

export async function call<T>(method: string, path: string, options?: Options): Promise<T> {
  const answer = await send(method, path, options);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

export const get = <T>(path: string, query?: Options['query'], abort?: AbortSignal) => call<T>('GET', path, { query, signal: abort });
export const post = <T>(path: string, body?: unknown) => call<T>('POST', path, { body });
export const patch = <T>(path: string, body: unknown, headers?: Record<string, string>) => call<T>('PATCH', path, { body, ...(headers && { headers }) });
export const put = <T>(path: string, body: unknown) => call<T>('PUT', path, { body });
export const del = <T = void>(path: string, query?: Options['query']) => call<T>('DELETE', path, { query });

// create posts with a key of its own, so that repeating it after a lost answer creates nothing twice.
export function create<T>(path: string, body: unknown, key: string): Promise<T> {
  return call<T>('POST', path, { body, headers: { 'Idempotency-Key': key } });
}

export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// politely calls again after the time that the server names, for work over many objects.
export async function politely<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (e) {
      if (!(e instanceof Problem) || e.status !== 429 || e.code === 'account_locked') throw e;
      await pause(Math.max(1, e.retryAfter) * 1000);
    }
  }
}

let probing = false;

// unreachable asks for the server's health until it answers; then everything is read anew.
function unreachable() {
  reachable.value = false;
  if (probing) return;
  probing = true;
  let wait = 1000;
  const probe = async () => {
    const there = await fetch('/health/live', { cache: 'no-store' }).then((answer) => answer.ok, () => false);
    if (!there) {
      wait = Math.min(wait * 1.5, 15000);
      setTimeout(probe, wait);
      return;
    }
    probing = false;
    reachable.value = true;
    epoch.value++;
  };
  setTimeout(probe, wait);
}

type Picker = (options: { suggestedName: string }) => Promise<FileSystemFileHandle>;

// save writes a file of the API to the disk as it comes where the browser can; elsewhere the file is in memory first.
export async function save(path: string, name: string): Promise<void> {
  const picker = (window as { showSaveFilePicker?: Picker }).showSaveFilePicker;
  const target = picker && (await picker({ suggestedName: name }));
  const answer = await send('GET', path);
  if (target) return answer.body?.pipeTo(await target.createWritable());
  saveBlob(await answer.blob(), name);
}

export function saveBlob(blob: Blob, name: string) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
