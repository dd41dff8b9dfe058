// Devices next to one another: the course of one event of each.
import { useEffect, useMemo, useState } from 'preact/hooks';
import { address, api, asProblem, type Problem } from '../api';
import { compact, number, when, zone } from '../format';
import { query, setQuery } from '../router';
import type { Summary, Usage } from '../types';
import { Card, Empty, Page, Scroll, Select, Skeleton, Wrong } from '../ui/kit';
import { PickDevices, useEach } from '../ui/pick';
import { colours, Plot, type Line } from '../ui/plot';
import { interval, RangePicker, rangeOf, setRange } from '../ui/range';

const most = 8;

// useEvents returns the events of numbers that the devices have sent, those of most devices first; undefined while they are not known.
function useEvents(ids: string[]): string[] | undefined {
  const known = useEach(ids, (id) => api.latestLogs(id).then(({ items }) => items.filter(({ value }) => typeof value !== 'string').map(({ event }) => event)), []);
  const uses = new Map<string, number>();
  for (const event of ids.flatMap((id) => known.get(id) ?? [])) uses.set(event, (uses.get(event) ?? 0) + 1);
  if (ids.some((id) => !known.has(id)) && uses.size === 0) return undefined;
  return [...uses.keys()].sort((a, b) => (uses.get(b) ?? 0) - (uses.get(a) ?? 0) || a.localeCompare(b));
}

export function Compare() {
  const ids = (query.value.get('devices') ?? '').split(',').filter(Boolean).slice(0, most);
  const events = useEvents(ids);
  const event = query.value.get('event') ?? events?.[0] ?? '';
  const [now, setNow] = useState(Date.now());
  const range = useMemo(() => rangeOf(now), [now, query.value.toString()]);
  useEffect(() => {
    const timer = setInterval(() => { if (!document.hidden) setNow(Date.now()); }, 30_000);
    return () => clearInterval(timer);
  }, []);
  return (
    <Page title="Compare" lead={`Up to ${most} devices, one event`}>
      <Card title="Devices">
        <PickDevices ids={ids} change={(to) => setQuery({ devices: to.join(',') })} most={most} colours={colours()} />
      </Card>
      {ids.length === 0 ? <Card><Empty icon="compare" title="Choose devices">Their values are drawn in one chart.</Empty></Card> : (
        <>
          <div class="filters">
            {events && events.length > 0 && <Select hidden label="Event" value={event} onPick={(v) => setQuery({ event: v })} options={[...new Set([event, ...events])].map((name) => [name, name] as const)} />}
            <RangePicker range={range} />
          </div>
          {event ? <Chart ids={ids} event={event} from={range.from} to={range.to} /> : <Card>{events ? <Empty icon="compare" title="Nothing to compare">These devices have sent no numbers.</Empty> : <Skeleton rows={6} />}</Card>}
        </>
      )}
    </Page>
  );
}

// Of a device that is gone only its line is left, without values.
interface Compared { id: string; name: string; summary: Summary | null; trend: Usage['trend'] }

function Chart({ ids, event, from, to }: { ids: string[]; event: string; from: number; to: number }) {
  const [state, setState] = useState<{ data?: Compared[]; error?: Problem }>({});
  const key = ids.join(',');
  useEffect(() => {
    const abort = new AbortController();
    const span = { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
    const read = (id: string) => api.deviceUsage(id, { event, ...span, interval: interval(from, to), tz: zone }, { signal: abort.signal }).then(
      ({ device_name: name, summary, trend }): Compared => ({ id, name, summary, trend }),
      (e: unknown): Compared => { if (asProblem(e).status === 404) return { id, name: 'Not found', summary: null, trend: [] }; throw e; },
    );
    Promise.all(ids.map(read)).then(
      (data) => setState({ data }),
      (e: unknown) => { if (!abort.signal.aborted) setState((was) => ({ ...was, error: asProblem(e) })); },
    );
    return () => abort.abort();
  }, [key, event, from, to]);
  const drawn = useMemo(() => state.data && lay(state.data), [state.data]);
  return (
    <Card title={`${event}, averages by the ${interval(from, to)}`} flush>
      <div class="pad">
        <Wrong problem={state.error} />
        {!drawn ? <Skeleton rows={6} /> : <Plot times={drawn.times} lines={drawn.lines} from={from} to={to} zoom={setRange} label={`${event} of ${state.data?.map((one) => one.name).join(', ')} from ${when(new Date(from).toISOString())} to ${when(new Date(to).toISOString())}`} />}
      </div>
      {state.data && (
        <Scroll label="Figures">
          <table class="table">
            <thead><tr><th scope="col">Device</th>{['Readings', 'Average', 'Least', 'Greatest', 'Median', '95 %'].map((name) => <th scope="col" class="right" key={name}>{name}</th>)}</tr></thead>
            <tbody>
              {state.data.map(({ id, name, summary }) => (
                <tr key={id}><td><a href={address(`/devices/${id}/charts`, { events: event })}>{name}</a></td><td class="right">{compact(summary?.count ?? 0)}</td>{[summary?.average, summary?.min, summary?.max, summary?.p50, summary?.p95].map((n, i) => <td class="right" key={i}>{number(n)}</td>)}</tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Card>
  );
}

function lay(all: Compared[]): { times: number[]; lines: Line[] } {
  const times = [...new Set(all.flatMap((one) => one.trend.map((point) => Date.parse(point.at) / 1000)))].sort((a, b) => a - b);
  const index = new Map(times.map((at, i) => [at, i]));
  return {
    times,
    lines: all.map(({ name, trend }) => {
      const values = new Array<number | null>(times.length).fill(null);
      for (const point of trend) values[index.get(Date.parse(point.at) / 1000) ?? 0] = point.average;
      return { label: name, values };
    }),
  };
}
