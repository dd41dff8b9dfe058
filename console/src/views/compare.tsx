// Devices next to one another: the course of one event of each.
import { useEffect, useMemo, useState } from 'preact/hooks';
import { address, api, asProblem, type Problem } from '../api';
import { compact, number, when, zone } from '../format';
import { useGet, useList } from '../load';
import { query, setQuery } from '../router';
import type { Summary, Usage } from '../types';
import { Card, Empty, Field, Page, Scroll, Select, Show, Skeleton, Wrong } from '../ui/kit';
import { Plot, type Line } from '../ui/plot';
import { interval, RangePicker, rangeOf, setRange } from '../ui/range';

const most = 8;

export function Compare() {
  const ids = (query.value.get('devices') ?? '').split(',').filter(Boolean).slice(0, most);
  const devices = useList((api) => api.listDevices({ limit: 200, sort: 'name', include: 'latest' }));
  const [text, setText] = useState('');
  const first = useGet(ids[0] ? (api) => api.latestLogs(ids[0] ?? '') : null);
  const events = first.data?.items.filter((item) => typeof item.value !== 'string').map((item) => item.event) ?? [];
  const event = query.value.get('event') ?? events[0] ?? '';
  const now = useMemo(() => Date.now(), [query.value.get('range')]);
  const range = useMemo(() => rangeOf(now), [now, query.value.toString()]);
  const pick = (id: string) => setQuery({ devices: (ids.includes(id) ? ids.filter((one) => one !== id) : [...ids, id].slice(-most)).join(',') });
  const shown = devices.data?.filter((device) => ids.includes(device.id) || device.name.toLowerCase().includes(text.toLowerCase())).sort((a, b) => Number(ids.includes(b.id)) - Number(ids.includes(a.id))).slice(0, 40);
  return (
    <Page title="Compare" lead={`Up to ${most} devices, one event`}>
      <Card title="Devices">
        <Field label="Find" type="search" value={text} onInput={(e) => setText(e.currentTarget.value)} />
        <Show from={devices} rows={2}>
          {() => <div class="events many" role="group" aria-label="Devices">{shown?.map((device) => <button type="button" class="event" key={device.id} aria-pressed={ids.includes(device.id)} onClick={() => pick(device.id)}><i />{device.name}</button>)}</div>}
        </Show>
      </Card>
      {ids.length === 0 ? <Card><Empty icon="compare" title="Choose devices">Their values are drawn in one chart.</Empty></Card> : (
        <>
          <div class="filters">
            {events.length > 0 && <Select hidden label="Event" value={event} onPick={(v) => setQuery({ event: v })} options={[...new Set([event, ...events])].map((name) => [name, name] as const)} />}
            <RangePicker range={range} />
          </div>
          {event && <Chart ids={ids} event={event} from={range.from} to={range.to} />}
        </>
      )}
    </Page>
  );
}

interface Compared { id: string; name: string; summary: Summary; trend: Usage['trend'] }

function Chart({ ids, event, from, to }: { ids: string[]; event: string; from: number; to: number }) {
  const [state, setState] = useState<{ data?: Compared[]; error?: Problem }>({});
  const key = ids.join(',');
  useEffect(() => {
    const abort = new AbortController();
    const span = { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
    Promise.all(ids.map((id) => api.deviceUsage(id, { event, ...span, interval: interval(from, to), tz: zone }, { signal: abort.signal }))).then(
      (all) => setState({ data: all.map((one) => ({ id: one.device_id, name: one.device_name, summary: one.summary, trend: one.trend })) }),
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
                <tr key={id}><td><a href={address(`/devices/${id}/charts`, { events: event })}>{name}</a></td><td class="right">{compact(summary.count)}</td>{[summary.average, summary.min, summary.max, summary.p50, summary.p95].map((n, i) => <td class="right" key={i}>{number(n)}</td>)}</tr>
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
