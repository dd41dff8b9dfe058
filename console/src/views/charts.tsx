// Charts of a device: numbers as lines with their range, counters as bars, everything else as a timeline of states.
import { useEffect, useMemo, useState } from 'preact/hooks';
import { api, asProblem, saveBlob, type Problem } from '../api';
import { compact, duration, number, percent, value, when, zone } from '../format';
import type { ViewProps } from '../lazy';
import { on } from '../live';
import { useGet, type Loaded } from '../load';
import { query, setQuery } from '../router';
import type { Latest, List, Log, LogSummary, Point, States, Summary } from '../types';
import { Button, Card, Choice, Empty, Facts, IconButton, Scroll, Show, Skeleton, Wrong } from '../ui/kit';
import { colours, Plot, type Line } from '../ui/plot';
import { interval, RangePicker, rangeOf, setRange, steps, type Range, type Step } from '../ui/range';
import { Cut } from './cut';

const maxEvents = 8;
// Ranges with fewer readings than this show each of them, longer ones the rollups.
const maxRaw = 2000;

export function Charts({ params: { id = '', name = '', edit = '' } }: ViewProps) {
  const latest = useGet((api) => api.latestLogs(id));
  return (
    <Show from={latest}>
      {({ items }) => items.length === 0 ? <Card><Empty icon="chart" title="Nothing to draw yet">Charts show here when the device has sent readings.</Empty></Card> : <Board id={id} name={name} items={items} edit={edit !== ''} />}
    </Show>
  );
}

function Board({ id, name, items, edit }: { id: string; name: string; items: Latest[]; edit: boolean }) {
  const [now, setNow] = useState(Date.now());
  const asked = query.value.get('events')?.split(',').filter((event) => items.some((item) => item.event === event)) ?? [];
  const numeric = items.filter((item) => typeof item.value === 'number');
  const events = asked.length ? asked : [(numeric[0] ?? items[0])?.event ?? ''];
  const range = useMemo(() => rangeOf(now), [now, query.value.toString()]);
  const follow = range.preset !== '';
  useEffect(() => {
    if (!follow) return;
    let due = false;
    const off = on<Log | LogSummary>('device-log', (data) => { if (data.device_id === id) due = true; });
    const timer = setInterval(() => { if (due && !document.hidden) { due = false; setNow(Date.now()); } }, range.preset === '1h' ? 5_000 : 20_000);
    return () => { off(); clearInterval(timer); };
  }, [id, follow, range.preset]);
  const pick = (event: string) => {
    const next = events.includes(event) ? events.filter((one) => one !== event) : [...events, event].slice(-maxEvents);
    setQuery({ events: next.join(',') });
  };
  const lines = events.filter((event) => typeof items.find((item) => item.event === event)?.value === 'number');
  const states = events.filter((event) => !lines.includes(event));
  return (
    <>
      <RangePicker range={range} />
      <div class="events" role="group" aria-label="Events">
        {items.map(({ event }) => {
          const at = lines.indexOf(event);
          return (
            <button type="button" key={event} class="event" aria-pressed={events.includes(event)} onClick={() => pick(event)}>
              <i style={at >= 0 ? { background: colours()[at % 8] } : {}} />{event}
            </button>
          );
        })}
      </div>
      {lines.length > 0 && <Lines id={id} name={name} events={lines} range={range} edit={edit} />}
      {states.map((event) => <Timeline key={event} id={id} event={event} range={range} />)}
    </>
  );
}

interface Course { event: string; summary: Summary; points: Point[]; step: Step; raw: boolean }

// useCourses reads what the chart draws, by steps or, without one, as finely as the range allows; what was drawn stays until the new is there.
function useCourses(id: string, events: string[], range: Range, step?: Step): Loaded<Course[]> {
  const [state, setState] = useState<{ data?: Course[]; error?: Problem; loading: boolean; turn: number }>({ loading: true, turn: 0 });
  const key = events.join(',');
  useEffect(() => {
    const abort = new AbortController();
    setState((was) => ({ ...was, loading: true }));
    Promise.all(events.map((event) => course(id, event, range, step, abort.signal))).then(
      (data) => setState((was) => ({ data, loading: false, turn: was.turn })),
      (e: unknown) => { if (!abort.signal.aborted) setState((was) => ({ ...was, error: asProblem(e), loading: false })); },
    );
    return () => abort.abort();
  }, [id, key, range.from, range.to, step, state.turn]);
  return { ...state, data: state.data, error: state.error, reload: () => setState((was) => ({ ...was, turn: was.turn + 1 })), set: () => undefined };
}

async function course(id: string, event: string, range: Range, step: Step | undefined, abort: AbortSignal): Promise<Course> {
  const [from, to] = [new Date(range.from).toISOString(), new Date(range.to).toISOString()];
  const by = step ?? interval(range.from, range.to);
  const usage = await api.deviceUsage(id, { event, from, to, interval: by, tz: zone }, { signal: abort });
  if (step || usage.summary.count > maxRaw || usage.summary.count === 0 || range.to - range.from > 3 * 86_400_000) return { event, summary: usage.summary, points: usage.trend, step: by, raw: false };
  const points: Point[] = [];
  for (let cursor: string | null = ''; cursor !== null;) {
    const page: List<Log> = await api.listLogs(id, { event, from, to, order: 'asc', limit: 200, cursor }, { signal: abort });
    for (const { timestamp, value: v } of page.items) {
      const n = typeof v === 'string' ? null : Number(v);
      points.push({ at: timestamp, count: 1, total: n ?? 0, average: n, min: n, max: n, first: v, last: v, increase: null });
    }
    cursor = page.next_cursor;
  }
  return { event, summary: usage.summary, points, step: by, raw: true };
}

function Lines({ id, name, events, range, edit }: { id: string; name: string; events: string[]; range: Range; edit: boolean }) {
  const [cut, setCut] = useState(false);
  const mode = query.value.get('as') ?? 'line';
  const by = mode === 'increase' ? bars.find(([name]) => name === query.value.get('by'))?.[0] : undefined;
  const step = by || undefined;
  const courses = useCourses(id, events, range, step);
  const drawn = useMemo(() => courses.data && align(courses.data, mode === 'increase'), [courses.data, mode]);
  const raw = courses.data?.every((one) => one.raw) ?? false;
  const empty = courses.data?.every((one) => one.points.length === 0);
  return (
    <Card
      title={courses.data ? titleOf(mode, raw, courses.data[0]?.step ?? 'hour') : 'Loading'}
      actions={<>{mode === 'increase' && <Choice label="By" options={bars} value={by ?? ''} onPick={(to) => setQuery({ by: to || null })} />}<Choice label="Draw" options={[['line', 'Values'], ['increase', 'Increase']]} value={mode} onPick={(to) => setQuery({ as: to === 'line' ? null : to })} /><Button icon="export" disabled={!drawn || empty} onClick={() => drawn && download(name, drawn)}>Save CSV</Button>{edit && !empty && <IconButton icon="trash" label="Delete this span" onClick={() => setCut(true)} />}</>}
    >
      <Wrong problem={courses.error} />
      {!drawn ? <Skeleton rows={6} /> : empty ? <Empty icon="chart" title="No readings in this range">Take a longer range, or go to an earlier time.</Empty> : (
        <Plot times={drawn.times} lines={drawn.lines} {...span(range, drawn, step)} zoom={setRange} raw={raw} label={`${events.join(', ')} of ${name} from ${when(new Date(range.from).toISOString())} to ${when(new Date(range.to).toISOString())}`} />
      )}
      {courses.data?.map((one) => (
        <div class="summary" key={one.event}>
          <h3>{one.event}</h3>
          <Facts facts={[
            ['Readings', compact(one.summary.count)], ['Average', number(one.summary.average)], ['Least', number(one.summary.min)], ['Greatest', number(one.summary.max)],
            ['Median', number(one.summary.p50)], ['95 %', number(one.summary.p95)], ['99 %', number(one.summary.p99)], ['Increase', number(one.summary.increase)], ['Last', value(one.summary.last)],
          ]} />
        </div>
      ))}
      {cut && <Cut id={id} events={events} given={range} close={() => setCut(false)} done={courses.reload} />}
    </Card>
  );
}

// bars are the steps by which an increase is shown: '' is as finely as the range allows.
const bars = [['', 'Finest'], ['hour', 'Hour'], ['day', 'Day'], ['week', 'Week'], ['month', 'Month']] as const satisfies readonly (readonly [Step | '', string])[];

function titleOf(mode: string, raw: boolean, step: Step): string {
  if (mode === 'increase') return raw ? 'Increase at each reading' : `Increase by the ${step}`;
  return raw ? 'Every reading' : `Averages by the ${step}, with least and greatest`;
}

interface Drawn { times: number[]; lines: Line[] }

// span is what the axis shows: the range, and the first and last bars whole.
function span({ from, to }: Range, drawn: Drawn, bar: Step | undefined): { from: number; to: number } {
  const [first, last] = [drawn.times[0], drawn.times.at(-1)];
  if (!bar || first === undefined || last === undefined) return { from, to };
  return { from: Math.min(from, first * 1000), to: Math.max(to, last * 1000 + steps[bar]) };
}

// align lays the points of several events on one axis; a gap of several steps breaks a line of rollups.
function align(courses: Course[], increase: boolean): Drawn {
  const all = new Set<number>();
  const step = steps[courses[0]?.step ?? 'hour'];
  for (const { points, raw } of courses) {
    let before = 0;
    for (const point of points) {
      const at = Date.parse(point.at);
      if (!raw && !increase && before && at - before > step * 90) all.add((before + step) / 1000);
      all.add(at / 1000);
      before = at;
    }
  }
  const times = [...all].sort((a, b) => a - b);
  const index = new Map(times.map((at, i) => [at, i]));
  const lines = courses.map(({ event, points, raw }): Line => {
    const column = () => new Array<number | null>(times.length).fill(null);
    const [values, low, high] = [column(), column(), column()];
    let last: number | null = null;
    for (const point of points) {
      const i = index.get(Date.parse(point.at) / 1000) ?? 0;
      const rise = point.increase ?? (last === null || point.average === null ? null : point.average >= last ? point.average - last : point.average);
      last = point.average;
      values[i] = increase ? rise : point.average;
      low[i] = point.min;
      high[i] = point.max;
    }
    return { label: event, values, bars: increase, ...(!raw && { step: step / 1000 }), ...(!raw && !increase && courses.length < 4 && { low, high }) };
  });
  return { times, lines };
}

// download saves what is seen.
function download(name: string, { times, lines }: Drawn) {
  const columns = lines.flatMap(({ label, values, low, high }) => (low && high ? [[label, values], [`${label} min`, low], [`${label} max`, high]] as const : [[label, values]] as const));
  const rows = times.map((at, i) => [new Date(at * 1000).toISOString(), ...columns.map(([, values]) => values[i] ?? '')].join(','));
  const head = ['timestamp', ...columns.map(([label]) => label)].join(',');
  saveBlob(new Blob([head + '\r\n' + rows.join('\r\n') + '\r\n'], { type: 'text/csv' }), `${name.replace(/[^\w.-]+/g, '-')}.csv`);
}

function Timeline({ id, event, range }: { id: string; event: string; range: Range }) {
  const states = useGet((api) => api.deviceStates(id, { event, from: new Date(range.from).toISOString(), to: new Date(range.to).toISOString() }), 0, true);
  return (
    <Card title={event}>
      <Show from={states}>
        {(data) => data.totals.length === 0 ? <p class="soft">No readings in this range.</p> : <Segments data={data} range={range} />}
      </Show>
    </Card>
  );
}

function Segments({ data, range }: { data: States; range: Range }) {
  const names = data.totals.map((total) => total.value);
  const colour = (v: unknown) => (v === false ? 'var(--off)' : colours()[Math.max(0, names.indexOf(v as never)) % 8]);
  const span = range.to - range.from;
  const x = (at: string) => ((Date.parse(at) - range.from) / span) * 1000;
  return (
    <>
      <svg class="timeline" viewBox="0 0 1000 40" preserveAspectRatio="none" role="img" aria-label={`${data.event}: ${data.totals.map((total) => `${value(total.value)} ${percent(total.share)}`).join(', ')}`}>
        {data.segments.map((one) => (
          <rect key={one.from} x={x(one.from)} width={Math.max(0.5, x(one.to) - x(one.from))} y="0" height="40" style={{ fill: colour(one.value) }}><title>{`${value(one.value)}, ${when(one.from)} – ${when(one.to)}`}</title></rect>
        ))}
      </svg>
      <div class="bars-axis"><span>{when(new Date(range.from).toISOString())}</span><span>{when(new Date(range.to).toISOString())}</span></div>
      {data.truncated && <p class="soft small">The line shows the first 1,000 changes; the totals are of all.</p>}
      <Scroll label="Values">
        <table class="table">
          <thead><tr><th scope="col">Value</th><th scope="col" class="right">Time</th><th scope="col" class="right">Share</th><th scope="col" class="right">Times</th></tr></thead>
          <tbody>
            {data.totals.slice(0, 20).map((total) => (
              <tr key={String(total.value)}><td><span class="swatch" style={{ background: colour(total.value) }} />{value(total.value)}</td><td class="right">{duration(total.seconds)}</td><td class="right">{percent(total.share)}</td><td class="right">{compact(total.count)}</td></tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </>
  );
}
