// The overview: what is online, what arrives, and where it comes from.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Alarm } from '../types';
import { clock, compact, count, number, percent, rate, value, when, zone } from '../format';
import { connected, on } from '../live';
import { useGet } from '../load';
import { query, setQuery } from '../router';
import type { Dashboard, Log, LogSummary, Value } from '../types';
import { Ago, Badge, Card, Choice, Empty, LinkButton, Page, Scroll, Show } from '../ui/kit';
import { useNames } from '../ui/pick';
import { Bars } from '../ui/spark';

const ranges = [['24h', 'Day'], ['7d', 'Week'], ['30d', 'Month'], ['365d', 'Year']] as const;

export function Overview() {
  const range = query.value.get('range') ?? '24h';
  const board = useGet((api) => api.dashboard({ range, tz: zone }), 60_000, true);
  const live = useGet((api) => api.realtimeFigures(), 10_000);
  const now = live.data;
  return (
    <Page title="Overview" lead={<Live />} actions={<Choice label="Range" options={ranges} value={range} onPick={(to) => setQuery({ range: to === '24h' ? null : to })} />}>
      <Show from={board} rows={8}>
        {(data) => data.summary.total_devices === 0 ? <Welcome /> : (
          <>
            <div class="figures">
              <a class="figure" href="/devices?connection=online"><span>Online now</span><b>{count(now?.online_devices ?? data.summary.online_devices)}</b><small>of {count(data.summary.total_devices)} devices</small></a>
              <div class="figure"><span>Logs per second</span><b>{now ? rate(now.logs_per_second) : '–'}</b><small>{now ? `${rate(now.heartbeats_per_second)} heartbeats` : ' '}</small></div>
              <div class="figure"><span>Logs in this range</span><b>{compact(data.summary.logs)}</b><small>{compact(data.summary.total_logs)} of all time</small></div>
              <Wrong />
              <a class="figure" href="/devices?status=active"><span>Active devices</span><b>{count(data.summary.active_devices)}</b><small>{percent(data.summary.active_devices / data.summary.total_devices)} of all</small></a>
            </div>
            <Trend data={data} />
            <div class="two">
              <Busiest data={data} />
              <Arriving />
            </div>
            <Events data={data} />
          </>
        )}
      </Show>
    </Page>
  );
}

// Wrong counts the active alarms.
function Wrong() {
  const alarms = useGet((api) => api.listAlarms({ state: 'active', limit: 1, count: true }), 60_000);
  const reload = useRef(alarms.reload);
  reload.current = alarms.reload;
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const off = on<Alarm>('alarm', () => { timer ??= setTimeout(() => { timer = undefined; reload.current(); }, 500); });
    return () => { off(); clearTimeout(timer); };
  }, []);
  const n = alarms.data?.total;
  return <a class="figure" href="/alarms"><span>Active alarms</span><b class={n ? 'bad' : ''}>{n === undefined ? '–' : count(n)}</b><small>{n === 0 ? 'nothing is wrong' : ' '}</small></a>;
}

function Live() {
  return connected.value ? <Badge tone="good"><span class="dot online" />Live</Badge> : <Badge><span class="dot" />Connecting</Badge>;
}

function Welcome() {
  return (
    <Card>
      <Empty icon="devices" title="Add your first device" action={<LinkButton look="main" icon="plus" href="/devices?add=1">Add a device</LinkButton>}>
        You get a token and ready lines for curl, MQTT, Arduino, Go and Python. What the device sends shows here as it arrives.
      </Empty>
    </Card>
  );
}

// columns fills the gaps of a trend: buckets without logs are left out of it.
function columns(data: Dashboard) {
  const hour = new Date(data.to).getTime() - new Date(data.from).getTime() <= 7 * 86_400_000;
  const byTime = new Map(data.trend.map((point) => [new Date(point.at).getTime(), point]));
  const anchor = data.trend[0] ? new Date(data.trend[0].at).getTime() : 0;
  if (!anchor) return [];
  const bars: { key: string; value: number; title: string }[] = [];
  const end = new Date(data.to).getTime();
  const at = new Date(anchor);
  while (at.getTime() < end && bars.length < 800) {
    const point = byTime.get(at.getTime());
    bars.push({ key: at.toISOString(), value: point?.log_count ?? 0, title: `${when(at.toISOString())}: ${count(point?.log_count ?? 0)} logs` });
    if (hour) at.setTime(at.getTime() + 3_600_000);
    else at.setDate(at.getDate() + 1);
  }
  return bars;
}

function Trend({ data }: { data: Dashboard }) {
  const bars = columns(data);
  return (
    <Card title="Logs over time">
      {bars.length === 0 ? <p class="soft">Nothing arrived in this range.</p> : (
        <div>
          <Bars bars={bars} label={`${count(data.summary.logs)} logs from ${when(data.from)} to ${when(data.to)}`} />
          <div class="bars-axis"><span>{when(bars[0]?.key)}</span><span>{when(data.to)}</span></div>
        </div>
      )}
    </Card>
  );
}

function Busiest({ data }: { data: Dashboard }) {
  return (
    <Card title="Busiest devices" flush>
      {data.devices.length === 0 ? <p class="soft pad">No device has sent logs in this range.</p> : (
        <table class="table">
          <thead><tr><th scope="col">Device</th><th scope="col" class="right">Logs</th><th scope="col" class="hide-small">Share</th><th scope="col">Last active</th></tr></thead>
          <tbody>
            {data.devices.map((device) => (
              <tr key={device.device_id}>
                <td><a href={`/devices/${device.device_id}`}>{device.device_name}</a><div class="soft small">{device.device_type}</div></td>
                <td class="right num">{compact(device.log_count)}</td>
                <td class="hide-small"><Meter share={device.log_count / Math.max(1, data.summary.logs)} /></td>
                <td class="soft nowrap small"><Ago at={device.last_active_at} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Card>
  );
}

// Meter is how much of the whole something is; its length is set as a property, which the policy allows.
export function Meter({ share }: { share: number }) {
  return <div class="meter" aria-hidden="true"><i style={{ width: `${Math.round(Math.min(1, share) * 100)}%` }} /></div>;
}

// useKnown returns the names of the devices: those of the list's first page, and of up to 40 others as they turn up.
function useKnown(ids: string[]): (id: string) => string | undefined {
  const first = useGet((api) => api.listDevices({ limit: 200, fields: 'id,name' })).data;
  const names = useMemo(() => new Map(first?.items.map(({ id, name }) => [id, name] as const)), [first]);
  const others = useRef(new Set<string>());
  if (first) ids.forEach((id) => { if (!names.has(id) && others.current.size < 40) others.current.add(id); });
  const more = useNames([...others.current]);
  return (id) => names.get(id) ?? more.get(id);
}

interface Arrival { key: string; flash?: boolean; device: string; event: string; value: Value; at: string }
const most = 12;

// Arriving is the newest readings, as they come. At most two redraws a second, however many arrive.
function Arriving() {
  const [rows, setRows] = useState<Arrival[]>([]);
  const known = useKnown(rows.map((row) => row.device));
  useEffect(() => {
    let fresh: Arrival[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    let serial = 0;
    const push = (device: string, event: string, v: Value, at: string) => {
      fresh.unshift({ key: String(serial++), device, event, value: v, at });
      if (fresh.length > most) fresh.length = most;
      timer ??= setTimeout(() => {
        timer = undefined;
        const add = fresh;
        fresh = [];
        // Where many arrive at once nothing flashes: the animation would paint every frame.
        setRows((now) => [...add.map((one) => ({ ...one, flash: add.length < 3 })), ...now].slice(0, most));
      }, 500);
    };
    const off = on<Log | LogSummary>('device-log', (data) => {
      if ('latest' in data) for (const [event, reading] of Object.entries(data.latest)) push(data.device_id, event, reading.value, reading.timestamp);
      else push(data.device_id, data.event, data.value, data.timestamp);
    });
    return () => { off(); clearTimeout(timer); };
  }, []);
  return (
    <Card title="Arriving now" flush>
      {rows.length === 0 ? <p class="soft pad">Readings show here the moment they arrive.</p> : (
        <ul class="rows arriving">
          {rows.map((row) => (
            <li key={row.key} class={row.flash ? 'flash' : ''}>
              <div><a href={`/devices/${row.device}`}>{row.event}</a><small>{[known(row.device), clock(row.at)].filter(Boolean).join(' · ')}</small></div>
              <b class="num">{value(row.value)}</b>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function Events({ data }: { data: Dashboard }) {
  if (data.events.length === 0) return null;
  const total = Math.max(1, data.events.reduce((sum, event) => sum + event.count, 0));
  return (
    <Card title="Events" flush>
      <Scroll label="Events">
        <table class="table">
          <thead><tr><th scope="col">Event</th><th scope="col" class="right">Logs</th><th scope="col" class="hide-small">Share</th><th scope="col" class="right">Average value</th></tr></thead>
          <tbody>
            {data.events.slice(0, 20).map((event) => (
              <tr key={event.event}>
                <td class="mono">{event.event}</td><td class="right num">{compact(event.count)}</td>
                <td class="hide-small"><Meter share={event.count / total} /></td>
                <td class="right num">{event.count ? number(event.total_value / event.count) : '–'}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </Card>
  );
}
