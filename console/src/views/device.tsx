// One device: its head, its latest values, and tabs for the rest.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { api, address } from '../api';
import { connection, dot, mayEdit, useDeviceEvents, useOrganizations } from '../fleet';
import { compact, duration, number, value, when, zone } from '../format';
import { Lazy, type ViewProps } from '../lazy';
import { on } from '../live';
import { useGet } from '../load';
import { navigate } from '../router';
import type { Device as DeviceType, Latest, Log, LogSummary, Usage } from '../types';
import { Ago, Badge, Card, Empty, Facts, Failed, Page, Show, Skeleton, Tabs, toast } from '../ui/kit';
import { Spark } from '../ui/spark';

const tabs = [['', 'Now'], ['charts', 'Charts'], ['state', 'State'], ['commands', 'Commands'], ['alarms', 'Alarms'], ['logs', 'Logs'], ['settings', 'Settings']] as const;

export function Device({ params: { id = '', tab = '' } }: ViewProps) {
  const loaded = useGet((api) => api.getDevice(id));
  const orgs = useOrganizations();
  const current = useRef(loaded);
  current.current = loaded;
  useDeviceEvents((change, ids) => {
    if (!ids.has(id)) return;
    const device = current.current.data;
    if (!device) return;
    if (change(device) === null) {
      toast(`${device.name} was deleted`);
      navigate('/devices', { replace: true });
    } else current.current.set((now) => change(now) ?? now);
  });
  const back = { href: '/devices', text: 'Devices' };
  if (!loaded.data) return <Page title="Device" back={back}>{loaded.error && loaded.error.status !== 0 ? <Failed problem={loaded.error} again={loaded.reload} /> : <Skeleton rows={6} />}</Page>;
  const device = loaded.data;
  const state = connection(device);
  const base = `/devices/${id}`;
  const edit = mayEdit(device, orgs);
  const info = { id, name: device.name, edit: edit ? '1' : '' };
  return (
    <Page
      title={device.name} back={back}
      lead={<><Badge tone={state.tone}><span class={dot(device)} />{state.text}</Badge><span>{device.type}</span><span>last active <Ago at={device.last_active_at} /></span><span class="tags">{device.tags.map((tag) => <a class="tag" key={tag} href={address('/devices', { tag })}>{tag}</a>)}</span></>}
    >
      <Tabs label="Device" now={tab ? `${base}/${tab}` : base} tabs={tabs.map(([name, text]) => ({ href: name ? `${base}/${name}` : base, text }))} />
      {tab === '' && <Now device={device} />}
      {tab === 'charts' && <Lazy load={() => import('./charts')} name="Charts" params={info} />}
      {tab === 'state' && <Lazy load={() => import('./control')} name="State" params={info} />}
      {tab === 'commands' && <Lazy load={() => import('./control')} name="Commands" params={info} />}
      {tab === 'alarms' && <Lazy load={() => import('./alarms')} name="DeviceAlarms" params={info} />}
      {tab === 'logs' && <Lazy load={() => import('./logs')} name="Logs" params={info} />}
      {tab === 'settings' && <Lazy load={() => import('./settings')} name="Settings" params={info} />}
    </Page>
  );
}

function Now({ device }: { device: DeviceType }) {
  const latest = useGet((api) => api.latestLogs(device.id));
  const current = useRef(latest);
  current.current = latest;
  useEffect(() => on<Log | LogSummary>('device-log', (data) => {
    if (data.device_id !== device.id) return;
    const fresh: Latest[] = 'latest' in data ? Object.entries(data.latest).map(([event, reading]) => ({ event, ...reading })) : [data];
    current.current.set(({ items }) => {
      const all = new Map(items.map((item) => [item.event, item]));
      for (const item of fresh) {
        const known = all.get(item.event);
        if (!known || known.timestamp <= item.timestamp) all.set(item.event, { event: item.event, value: item.value, timestamp: item.timestamp });
      }
      return { items: [...all.values()].sort((a, b) => a.event.localeCompare(b.event)) };
    });
  }), [device.id]);
  return (
    <>
      <Show from={latest} rows={4}>
        {({ items }) => items.length === 0 ? (
          <Card><Empty icon="chart" title="No readings yet">The newest value of each event shows here when the device has sent one. Its token is under Settings.</Empty></Card>
        ) : (
          <div class="tiles">
            {items.map((item, i) => <Tile key={item.event} id={device.id} item={item} spark={i < 8 && typeof item.value !== 'string'} />)}
          </div>
        )}
      </Show>
      <Card title="About">
        <Facts
          facts={[
            ['Status', device.status], ['Type', device.type], ['Serial number', device.serial ?? 'none'], ['Heartbeat every', duration(device.heartbeat_interval)],
            ['Added', when(device.created_at)], ['Changed', when(device.updated_at)], ['Id', <code>{device.id}</code>],
            ...Object.entries(device.metadata ?? {}).map(([key, v]) => [key, typeof v === 'object' ? <code>{JSON.stringify(v)}</code> : String(v)] as const),
          ]}
        />
      </Card>
    </>
  );
}

// Tile is the newest value of an event, and its course over the last day.
function Tile({ id, item, spark }: { id: string; item: Latest; spark: boolean }) {
  const [usage, setUsage] = useState<Usage | null>(null);
  useEffect(() => {
    if (!spark) return;
    const abort = new AbortController();
    api.deviceUsage(id, { event: item.event, range: '24h', interval: 'hour', tz: zone }, { signal: abort.signal }).then(setUsage, () => undefined);
    return () => abort.abort();
  }, [id, item.event, spark]);
  const line = useMemo(() => usage && fill(usage), [usage]);
  const summary = usage?.summary;
  return (
    <a class="tile" href={address(`/devices/${id}/charts`, { events: item.event })}>
      <span class="tile-name">{item.event}</span>
      <b key={item.timestamp} class="flash" aria-live="off">{value(item.value)}</b>
      {line && <Spark values={line} label={`${item.event} over the last day, from ${number(summary?.min)} to ${number(summary?.max)}`} />}
      <small>{summary && summary.min !== null && typeof item.value === 'number' ? <span>{number(summary.min)} – {number(summary.max)}</span> : <span>{summary ? `${compact(summary.count)} today` : ''}</span>}<Ago at={item.timestamp} /></small>
    </a>
  );
}

// fill puts null where an hour has no readings, so that the line has a gap there.
function fill(usage: Usage): (number | null)[] {
  const byHour = new Map(usage.trend.map((point) => [Math.floor(Date.parse(point.at) / 3_600_000), point.average]));
  const end = Math.floor(Date.parse(usage.to) / 3_600_000);
  return Array.from({ length: 25 }, (_, i) => byHour.get(end - 24 + i) ?? null);
}
