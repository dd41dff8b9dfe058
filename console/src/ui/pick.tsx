// Choosing devices by their names, however many there are: the server searches.
import { useEffect, useRef, useState } from 'preact/hooks';
import { api, asProblem, epoch } from '../api';
import { useList } from '../load';
import { Field, Wrong } from './kit';

// useEach asks for something of each id, once, and again after a time without the server; what is not found is missing.
export function useEach<T>(ids: string[], ask: (id: string) => Promise<T>, missing: T): ReadonlyMap<string, T> {
  const [known, setKnown] = useState<ReadonlyMap<string, T>>(new Map());
  const asked = useRef(new Set<string>());
  useEffect(() => {
    for (const id of ids.filter((one) => !asked.current.has(one))) {
      asked.current.add(id);
      ask(id).catch((e: unknown) => { if (asProblem(e).status === 404) return missing; throw e; }).then(
        (found) => setKnown((now) => new Map(now).set(id, found)),
        () => { asked.current.delete(id); },
      );
    }
  }, [ids.join(), epoch.value]);
  return known;
}

// useNames returns the names of devices by their ids, as they become known.
export const useNames = (ids: string[]) => useEach(ids, (id) => api.getDevice(id).then(({ name }) => name), 'Not found');

const shown = 40;

// PickDevices shows the chosen devices first, then others to choose from.
export function PickDevices({ ids, change, most, colours = [] }: { ids: string[]; change: (ids: string[]) => void; most: number; colours?: string[] }) {
  const [text, setText] = useState('');
  const [q, setQ] = useState('');
  useEffect(() => {
    const timer = setTimeout(() => setQ(text.trim()), 250);
    return () => clearTimeout(timer);
  }, [text]);
  const found = useList((call) => call.listDevices({ q, limit: shown, sort: 'name', fields: 'id,name' }));
  const last = useRef(found.data);
  last.current = found.data ?? last.current; // what was found before stays until the next answer
  const names = useNames(ids);
  const toggle = (id: string) => change(ids.includes(id) ? ids.filter((one) => one !== id) : [...ids, id]);
  const others = (last.current ?? []).filter(({ id }) => !ids.includes(id));
  return (
    <>
      <Field label="Find devices" type="search" value={text} onInput={(e) => setText(e.currentTarget.value)} autocomplete="off" hint={found.more && !text ? `The first ${shown} by name: search for others` : undefined} />
      <Wrong problem={found.data ? undefined : found.error} />
      <div class="events many" role="group" aria-label="Devices">
        {ids.map((id, i) => <button type="button" class="event" key={id} aria-pressed onClick={() => toggle(id)}><i style={colours[i] ? { background: colours[i] } : {}} />{names.get(id) ?? '…'}</button>)}
        {others.map(({ id, name }) => <button type="button" class="event" key={id} aria-pressed={false} disabled={ids.length >= most} onClick={() => toggle(id)}><i />{name}</button>)}
        {found.data && others.length === 0 && q && <span class="soft small">No other device has this in its name.</span>}
      </div>
    </>
  );
}
