// Reading from the API in views: what a call answers, kept while the user looks at other views, and read again when it may have changed.
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Call } from '../../client/ts/src/index';
import { address, api, asProblem, describe, epoch, type Ask, type Problem } from './api';
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

// useGet makes the call that ask describes; null makes none yet.
export function useGet<T>(ask: Ask<T> | null, every = 0): Loaded<T> {
  return useCall(ask && describe(ask), every);
}

function useCall<T>(call: Call | null, every = 0): Loaded<T> {
  const path = call && address(call.path, call.query);
  const [, draw] = useState(0);
  const [turn, setTurn] = useState(0);
  // missed says that something changed before there was anything to change: what is being read may be older.
  const now = useRef<{ path: string | null; data?: T; error?: Problem; loading: boolean; missed?: boolean }>({ path: null, loading: true });
  if (now.current.path !== path) {
    now.current = { path, data: path === null ? undefined : (kept.get(path) as T | undefined), loading: path !== null };
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

export interface Pages<T> extends Loaded<T[]> { more: (() => void) | null; total: number | undefined }

// useList reads a list page by page; more reads the next one.
export function useList<T>(ask: Ask<List<T>>): Pages<T> {
  const call = describe(ask);
  const path = address(call.path, call.query);
  const first = useCall<List<T>>(call);
  const [next, setNext] = useState<{ path: string; items: T[]; cursor: string | null; error?: Problem }>({ path: '', items: [], cursor: null });
  const busy = useRef(false);
  const further = next.path === path ? next : null;
  const cursor = further ? further.cursor : first.data?.next_cursor ?? null;
  const more = cursor === null ? null : () => {
    if (busy.current) return;
    busy.current = true;
    api.send<List<T>>({ ...call, query: { ...call.query, cursor } }).then(
      (page) => setNext({ path, items: [...(further?.items ?? []), ...page.items], cursor: page.next_cursor }),
      (e: unknown) => setNext({ path, items: further?.items ?? [], cursor, error: asProblem(e) }),
    ).finally(() => { busy.current = false; });
  };
  return {
    data: first.data && [...first.data.items, ...(further?.items ?? [])],
    error: first.error ?? further?.error, loading: first.loading, total: first.data?.total, more,
    reload: () => { setNext({ path: '', items: [], cursor: null }); first.reload(); },
    // What is changed is the list as it is now, which may be newer than what was drawn.
    set: (change) => first.set((list) => {
      const all = change([...list.items, ...(further?.items ?? [])]);
      const cut = further ? Math.min(list.items.length, all.length) : all.length;
      if (further) setNext({ ...further, items: all.slice(cut) });
      return { ...list, items: all.slice(0, cut) };
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
