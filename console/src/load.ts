// Reading from the API in views: what a call answers, kept while the user looks at other views, and read again when it may have changed.
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Call } from '../../client/ts/src/index';
import { address, api, asProblem, describe, epoch, type Ask, type Problem } from './api';
import { traversed } from './router';
import type { List } from './types';

const kept = new Map<string, unknown>();

function keep(path: string, data: unknown) {
  kept.delete(path);
  kept.set(path, data);
  if (kept.size > 80) kept.delete(kept.keys().next().value as string);
}

export interface Loaded<T> {
  data: T | undefined;
  error: Problem | undefined;
  loading: boolean;
  reload: () => void;
  // set changes what is shown, after a live event or an answer that has the new state.
  set: (change: (now: T) => T) => void;
}

// useGet makes the call that ask describes; null makes none yet. With hold, what was shown stays while another call is made.
export function useGet<T>(ask: Ask<T> | null, every = 0, hold = false): Loaded<T> {
  return useCall(ask && describe(ask), every, hold);
}

function useCall<T>(call: Call | null, every = 0, hold = false): Loaded<T> {
  const path = call && address(call.path, call.query);
  const [, draw] = useState(0);
  const [turn, setTurn] = useState(0);
  // missed says that something changed before there was anything to change: what is being read may be older.
  const now = useRef<{ path: string | null; data?: T; error?: Problem; loading: boolean; missed?: boolean }>({ path: null, loading: true });
  if (now.current.path !== path) {
    const known = path === null ? undefined : (kept.get(path) as T | undefined);
    now.current = { path, data: known ?? (hold ? now.current.data : undefined), loading: path !== null };
  }
  const age = epoch.value;
  useEffect(() => {
    if (!call) return;
    const abort = new AbortController();
    const state = now.current;
    state.loading = true;
    api.send<T>(call, abort.signal).then(
      (data) => { keep(address(call.path, call.query), data); state.data = data; state.error = undefined; },
      (e: unknown) => { if (!abort.signal.aborted) state.error = asProblem(e); },
    ).finally(() => {
      state.loading = false;
      if (abort.signal.aborted) return;
      if (state.missed) setTurn((n) => n + 1);
      state.missed = false;
      draw((n) => n + 1);
    });
    return () => abort.abort();
  }, [path, turn, age]);
  useEffect(() => {
    if (!every) return;
    const timer = setInterval(() => { if (!document.hidden) setTurn((n) => n + 1); }, every);
    return () => clearInterval(timer);
  }, [every]);
  const state = now.current;
  return {
    data: state.data, error: state.error, loading: state.loading,
    reload: () => setTurn((n) => n + 1),
    set: (change) => {
      if (state.data === undefined) {
        state.missed = true;
        return;
      }
      state.data = change(state.data);
      if (path !== null) keep(path, state.data);
      draw((n) => n + 1);
    },
  };
}

// Pages is a list as far as it was read. reload begins anew; refresh reads the first page again, and keeps what follows it.
export interface Pages<T> extends Loaded<T[]> { more: (() => void) | null; total: number | undefined; refresh: () => void }

// Rest is what was read of a list after a first page, and that page.
interface Rest<T> { after: T[]; items: T[]; cursor: string | null; error?: Problem }

const rests = new Map<string, Rest<unknown>>();

const idOf = (item: unknown) => (item as { id?: string }).id;

// rebase puts the rest behind another first page, which has new items or lacks some: it begins after that page's last item. Without such
// an item, or without a page behind it, there is no rest.
function rebase<T>(rest: Rest<T>, page: List<T>): Rest<T> | undefined {
  const all = [...rest.after, ...rest.items];
  const last = page.items.at(-1);
  const at = page.next_cursor === null || last === undefined ? -1 : all.findIndex((item) => idOf(item) !== undefined && idOf(item) === idOf(last));
  if (at < 0 || at + 1 >= all.length) return undefined;
  const ids = new Set(page.items.map(idOf));
  return { ...rest, after: page.items, items: all.slice(at + 1).filter((item) => !ids.has(idOf(item))) };
}

// useList reads a list page by page; more reads the next one. A list that the browser goes back to is as long as it was.
export function useList<T>(ask: Ask<List<T>>): Pages<T> {
  const call = describe(ask);
  const path = address(call.path, call.query);
  const first = useCall<List<T>>(call);
  const [, draw] = useState(0);
  const shown = useRef('');
  if (shown.current !== path) {
    shown.current = path;
    if (!traversed) rests.delete(path);
  }
  let rest = rests.get(path) as Rest<T> | undefined;
  const keepRest = (now: Rest<T> | undefined) => {
    rests.delete(path);
    if (now) rests.set(path, now);
    if (rests.size > 10) rests.delete(rests.keys().next().value as string);
    rest = now;
  };
  const page = first.data;
  if (rest && page && rest.after !== page.items) keepRest(rebase(rest, page));
  const further = rest;
  const busy = useRef('');
  const cursor = further ? further.cursor : page?.next_cursor ?? null;
  const more = cursor === null || !page ? null : () => {
    if (busy.current === path) return;
    busy.current = path;
    const add = (next: Omit<Rest<T>, 'after'>) => {
      const last = rests.get(path) as Rest<T> | undefined; // live events may have changed it meanwhile
      if (last === further || last?.cursor === cursor) keepRest({ ...next, after: last?.after ?? page.items, items: [...(last?.items ?? []), ...next.items] });
    };
    api.send<List<T>>({ ...call, query: { ...call.query, cursor } }).then(
      (next) => add({ items: next.items, cursor: next.next_cursor }),
      (e: unknown) => add({ items: [], cursor, error: asProblem(e) }),
    ).finally(() => { busy.current = ''; draw((n) => n + 1); });
  };
  return {
    data: page && [...page.items, ...(further?.items ?? [])],
    error: first.error ?? further?.error, loading: first.loading, total: page?.total, more,
    reload: () => { keepRest(undefined); first.reload(); },
    refresh: first.reload,
    // What is changed is the list as it is now, which may be newer than what was drawn.
    set: (change) => first.set((list) => {
      const last = rests.get(path) as Rest<T> | undefined;
      const all = change([...list.items, ...(last?.items ?? [])]);
      const cut = last ? Math.min(list.items.length, all.length) : all.length;
      const items = all.slice(0, cut);
      if (last) keepRest({ ...last, after: items, items: all.slice(cut) });
      return { ...list, items };
    }),
  };
}

// useAgain loads again for as long as something is under way.
export function useAgain(waiting: boolean, reload: () => void) {
  const current = useRef(reload);
  current.current = reload;
  useEffect(() => {
    if (!waiting) return;
    const timer = setInterval(() => { if (!document.hidden) current.current(); }, 2000);
    return () => clearInterval(timer);
  }, [waiting]);
}
