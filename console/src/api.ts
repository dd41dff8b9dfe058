// The client of the API: client/ts over the session of the browser's tabs. A call whose session has ended waits until the user has
// signed in again, so that no form loses what it holds.
import { signal } from '@preact/signals';
import { Api, Client, Refused, Unreachable, type Call } from '../../client/ts/src/index';
import { bearer } from './session';

// reachable is false from a request that found no server until one that did.
export const reachable = signal(true);

// epoch changes when what is shown must be read anew: after a time without the server, and when live events were lost.
export const epoch = signal(0);

// reach makes a request, and notes whether it reached a server.
async function reach(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  try {
    const answer = await fetch(input, init);
    reachable.value = true;
    return answer;
  } catch (e) {
    if (!init?.signal?.aborted) unreachable();
    throw e;
  }
}

class Server extends Client {
  // send makes a call that describe returned.
  send<T>(call: Call, signal?: AbortSignal): Promise<T> {
    return this.call<T>({ ...call, options: { ...call.options, ...(signal && { signal }) } });
  }
}

export const api = new Server('', { token: bearer, fetch: reach, longestWait: 20_000 });

// Described is an API whose operations return what they would send.
class Described extends Api {
  protected override call(call: Call) {
    return call as never;
  }
}

const described = new Described();

// Ask chooses an operation and what it is asked with.
export type Ask<T> = (api: Api) => Promise<T>;

// describe returns the call that an operation makes.
export const describe = <T>(ask: Ask<T>) => ask(described) as unknown as Call;

// address returns a path with its query; values that are empty or false are left out.
export function address(path: string, query: object = {}): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '' && value !== false);
  return path + (pairs.length ? '?' + new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString() : '');
}

// Problem is why something failed, as views show it: status is 0 without a server, -1 for what the console itself refuses.
export class Problem extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly fields: Record<string, string> = {},
  ) {
    super(message);
  }
}

const upper = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

export function asProblem(e: unknown): Problem {
  if (e instanceof Problem) return e;
  if (e instanceof Unreachable) return new Problem(0, 'The server cannot be reached. Try again in a moment.');
  if (!(e instanceof Refused)) return new Problem(-1, e instanceof Error ? e.message : String(e));
  const fields: Record<string, string> = {};
  const texts: string[] = [];
  for (const { location, message } of e.fields) {
    const name = location.replace(/^(body|query|path)\.?/, '');
    fields[name] = upper(message);
    texts.push(name ? `${name.replaceAll('_', ' ')} ${message}` : message);
  }
  return new Problem(e.status, upper(texts.join('; ') || e.detail || `the server answered ${e.status}`), fields);
}

// setting returns a setting of the server, which it writes into the page.
export const setting = (name: string) => document.querySelector<HTMLMetaElement>(`meta[name=hearth-${name}]`)?.content ?? '';

export const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

// newKey returns an idempotency key. A form keeps one while its fields stay, so that sending it again creates nothing twice.
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
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
export async function save(open: () => Promise<Response>, name: string): Promise<void> {
  const picker = (window as { showSaveFilePicker?: Picker }).showSaveFilePicker;
  const target = picker && (await picker({ suggestedName: name }));
  const answer = await open();
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
