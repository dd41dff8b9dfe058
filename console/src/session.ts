// The session of the user. The access token is only in memory. The refresh token is in localStorage, which scripts of this origin alone
// can read, so that all tabs share one session: a tab refreshes it under a lock and always with the newest token. Where the browser has
// no locks (plain HTTP on another address than localhost), the server's leeway answers two tabs with the same new token.
import { signal } from '@preact/signals';
import { Refused } from '../../client/ts/src/index';
import { api } from './api';
import type { Tokens, User } from './types';

interface Stored { refresh: string; user: User }

const name = 'hearth.session';

export const user = signal<User | null>(null);

// expired is true while the user must sign in again; what is on the screen stays there.
export const expired = signal(false);

let token = '';
let until = 0;
let refreshing: Promise<string> | null = null;
let waiting: (() => void)[] = [];

// What the tabs tell one another: a new access token, or that the user signed out.
type Message = { token: string; until: number } | 'signed-out';

const channel = new BroadcastChannel(name);
channel.onmessage = ({ data }: MessageEvent<Message>) => {
  if (data === 'signed-out') forget();
  else ({ token, until } = data);
};

function stored(): Stored | null {
  try {
    return JSON.parse(localStorage.getItem(name) ?? 'null') as Stored | null;
  } catch {
    return null;
  }
}

function keep(tokens: Tokens) {
  token = tokens.access_token;
  until = Date.now() + tokens.expires_in * 1000;
  localStorage.setItem(name, JSON.stringify({ refresh: tokens.refresh_token, user: tokens.user } satisfies Stored));
  channel.postMessage({ token, until } satisfies Message);
  resume(tokens.user);
}

// resume lets the calls go on that wait for the user to sign in.
function resume(signed: User) {
  user.value = signed;
  expired.value = false;
  const go = waiting;
  waiting = [];
  go.forEach((each) => each());
}

// signedIn keeps the session that the tokens are of. Another user than before starts anew.
export function signedIn(tokens: Tokens) {
  const before = user.value;
  keep(tokens);
  if (before && before.id !== tokens.user.id) location.assign('/');
}

// begin reads the session that is kept; the user is known before the server is asked.
export function begin() {
  user.value = stored()?.user ?? null;
  addEventListener('storage', (e) => {
    if (e.key !== name && e.key !== null) return;
    const now = stored();
    if (!now) { expired.value = user.value !== null; return; }
    if (user.value && user.value.id !== now.user.id) { location.reload(); return; }
    resume(now.user);
  });
}

// profile changes what is known of the user.
export function profile(changed: User) {
  const now = stored();
  if (now) localStorage.setItem(name, JSON.stringify({ ...now, user: changed }));
  user.value = changed;
}

// bearer returns an access token that is valid for a while: the present one, unless the server has rejected it. Where the session has
// ended it waits until the user has signed in again. Without a session it is ''.
export async function bearer(rejected: string): Promise<string> {
  for (;;) {
    if (expired.value) await new Promise<void>((go) => waiting.push(go));
    if (token && token !== rejected && Date.now() < until - 30_000) return token;
    if (!stored()) return '';
    refreshing ??= locked(() => refresh(rejected)).finally(() => { refreshing = null; });
    const fresh = await refreshing;
    if (!expired.value) return fresh;
  }
}

function locked<T>(work: () => Promise<T>): Promise<T> {
  return navigator.locks ? (navigator.locks.request(name, work) as Promise<T>) : work();
}

async function refresh(rejected: string): Promise<string> {
  // Another tab may have refreshed it while this one waited.
  if (token && token !== rejected && Date.now() < until - 30_000) return token;
  for (;;) {
    const now = stored();
    if (!now) return '';
    try {
      keep(await api.refresh({ refresh_token: now.refresh }));
      return token;
    } catch (e) {
      if (!(e instanceof Refused) || e.status !== 401) throw e;
      if (stored()?.refresh !== now.refresh) continue; // a tab without the lock was first
      sessionEnded();
      return '';
    }
  }
}

// sessionEnded drops tokens that the server refuses.
export function sessionEnded() {
  token = '';
  until = 0;
  localStorage.removeItem(name);
  if (user.value) expired.value = true;
}

function forget() {
  token = '';
  until = 0;
  user.value = null;
  expired.value = false;
  location.assign('/sign-in');
}

// signOut ends the session on the server and here. Without the server the session is only forgotten here.
export async function signOut() {
  await api.logOut().catch(() => undefined);
  localStorage.removeItem(name);
  channel.postMessage('signed-out' satisfies Message);
  forget();
}
