// The list of devices: live, searched and filtered by the address, thousands of rows.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { connection, dot, useDeviceEvents, useOrganizations } from '../fleet';
import { plural, value } from '../format';
import { useList } from '../load';
import { query, setQuery } from '../router';
import type { Device } from '../types';
import { Icon } from '../ui/icons';
import { Ago, Button, Card, Empty, Failed, LinkButton, Page, Select, Skeleton } from '../ui/kit';
import { Virtual } from '../ui/virtual';
import { AddDevice } from './add';
import { Bulk } from './bulk';

const filters = ['q', 'type', 'status', 'connection', 'tag', 'organization_id', 'sort'] as const;

const wide = matchMedia('(min-width: 52rem)');

// useWide reports whether the window has room for columns.
function useWide() {
  const [is, set] = useState(wide.matches);
  useEffect(() => {
    const change = () => set(wide.matches);
    wide.addEventListener('change', change);
    return () => wide.removeEventListener('change', change);
  }, []);
  return is;
}

export function Devices() {
  const asked = Object.fromEntries(filters.map((name) => [name, query.value.get(name)]));
  const list = useList((api) => api.listDevices({ ...asked, include: 'latest', limit: 200, count: true }));
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const orgs = useOrganizations();
  const roomy = useWide();
  const any = filters.some((name) => name !== 'sort' && asked[name]);
  const current = useRef(list);
  current.current = list;
  useDeviceEvents((change, ids, fresh) => {
    const now = current.current.data;
    if (!now) return;
    if (now.some((device) => ids.has(device.id))) current.current.set((all) => all.map((device) => (ids.has(device.id) ? change(device) : device)).filter((device) => device !== null));
    if (!any && fresh.some((device) => !now.some((known) => known.id === device.id) && Date.now() - Date.parse(device.created_at) < 60_000)) current.current.refresh();
  });
  const devices = list.data ?? [];
  const total = list.total ?? devices.length;
  const toggle = (id: string) => setSelected((now) => { const next = new Set(now); if (!next.delete(id)) next.add(id); return next; });
  const picked = devices.filter((device) => selected.has(device.id));
  return (
    <Page
      title="Devices" wide lead={list.data && <span role="status">{plural(total, 'device')}{any ? ' found' : ''}</span>}
      actions={<><LinkButton icon="import" href="/import">Import</LinkButton><Button look="main" icon="plus" onClick={() => setQuery({ add: '1' }, true)}>Add device</Button></>}
    >
      <Filters devices={devices} orgs={orgs.map((org) => [org.id, org.name] as const)} />
      {picked.length > 0 && <Bulk devices={picked} clear={() => setSelected(new Set())} changed={list.refresh} />}
      <Card flush>
        {list.data === undefined ? (list.error && list.error.status !== 0 ? <Failed problem={list.error} again={list.reload} /> : <Skeleton rows={8} />)
          : devices.length === 0 ? <None filtered={any} />
          : (
            <Virtual
              items={devices} height={roomy ? 60 : 78} more={list.more} label="Devices" count={total}
              header={roomy && <Header all={picked.length === devices.length} onAll={(on) => setSelected(on ? new Set(devices.map((device) => device.id)) : new Set())} />}
              row={(device, i) => <Row key={device.id} device={device} index={i} roomy={roomy} selected={selected.has(device.id)} toggle={() => toggle(device.id)} />}
            />
          )}
      </Card>
      {query.value.get('add') && <AddDevice close={() => { setQuery({ add: null }); list.refresh(); }} orgs={orgs} />}
    </Page>
  );
}

function None({ filtered }: { filtered: boolean }) {
  if (filtered) {
    return <Empty icon="search" title="No device is like this" action={<Button onClick={() => setQuery(Object.fromEntries(filters.map((name) => [name, null])))}>Clear the filters</Button>}>Look for a part of a name, or take a filter away.</Empty>;
  }
  return <Empty icon="devices" title="No devices yet" action={<Button look="main" icon="plus" onClick={() => setQuery({ add: '1' }, true)}>Add device</Button>}>Add one to get its token and lines that you can paste.</Empty>;
}

function Filters({ devices, orgs }: { devices: Device[]; orgs: (readonly [string, string])[] }) {
  const get = (name: string) => query.value.get(name) ?? '';
  const [text, setText] = useState(get('q'));
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => setText(get('q')), [get('q')]);
  const search = (q: string) => {
    setText(q);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setQuery({ q }), 250);
  };
  // The choices are of the devices that were seen while the view is open.
  const seen = useRef({ types: new Set<string>(), tags: new Set<string>() });
  const [types, tags] = useMemo(() => {
    for (const device of devices) { seen.current.types.add(device.type); device.tags.forEach((tag) => seen.current.tags.add(tag)); }
    return [[...seen.current.types].sort(), [...seen.current.tags].sort()];
  }, [devices]);
  const choices = (all: string[], name: string, none: string) => [['', none], ...[...new Set([...all, get(name)])].filter(Boolean).map((one) => [one, one] as const)] as const;
  return (
    <div class="filters" role="search">
      <div class="search"><Icon name="search" size={18} /><input type="search" aria-label="Search by name" placeholder="Search by name" value={text} onInput={(e) => search(e.currentTarget.value)} /></div>
      <Select hidden label="Connection" value={get('connection')} onPick={(v) => setQuery({ connection: v })} options={[['', 'Connection'], ['online', 'Online'], ['offline', 'Offline'], ['never', 'Never seen']]} />
      <Select hidden label="Status" value={get('status')} onPick={(v) => setQuery({ status: v })} options={[['', 'Status'], ['active', 'Active'], ['inactive', 'Inactive'], ['error', 'Error']]} />
      <Select hidden label="Type" value={get('type')} onPick={(v) => setQuery({ type: v })} options={choices(types, 'type', 'Type')} />
      {(tags.length > 0 || get('tag')) && <Select hidden label="Tag" value={get('tag')} onPick={(v) => setQuery({ tag: v })} options={choices(tags, 'tag', 'Tag')} />}
      {orgs.length > 0 && <Select hidden label="Organization" value={get('organization_id')} onPick={(v) => setQuery({ organization_id: v })} options={[['', 'Organization'], ...orgs]} />}
      <Select hidden label="Sort" value={get('sort')} onPick={(v) => setQuery({ sort: v })} options={[['', 'Newest first'], ['name', 'Name'], ['-last_active_at', 'Last active'], ['created_at', 'Oldest first']]} />
    </div>
  );
}

function Header({ all, onAll }: { all: boolean; onAll: (on: boolean) => void }) {
  return (
    <div role="row" class="device-row head">
      <span role="columnheader"><input type="checkbox" aria-label="Select all that are loaded" checked={all} onChange={(e) => onAll(e.currentTarget.checked)} /></span>
      <span role="columnheader">Name</span><span role="columnheader">Connection</span><span role="columnheader">Latest values</span>
      <span role="columnheader">Tags</span><span role="columnheader">Last active</span>
    </div>
  );
}

function Row({ device, index, roomy, selected, toggle }: { device: Device; index: number; roomy: boolean; selected: boolean; toggle: () => void }) {
  const readings = Object.entries(device.latest ?? {}).sort(([, a], [, b]) => b.timestamp.localeCompare(a.timestamp)).slice(0, roomy ? 3 : 1).sort(([a], [b]) => a.localeCompare(b));
  const height = roomy ? 60 : 78;
  const state = connection(device);
  return (
    <div role="row" aria-rowindex={index + 2} class={selected ? 'device-row selected' : 'device-row'} style={{ top: `${index * height}px`, height: `${height}px` }}>
      <span role="cell"><input type="checkbox" aria-label={`Select ${device.name}`} checked={selected} onChange={toggle} /></span>
      <span role="cell" class="device-name">
        {!roomy && <span class={dot(device)} title={state.text} />}
        <span><a href={`/devices/${device.id}`}>{device.name}</a><small>{device.type}{roomy ? '' : <> · <Ago at={device.last_active_at} /></>}</small></span>
      </span>
      {roomy && <span role="cell" class="device-state"><span class={dot(device)} />{state.text}</span>}
      <span role="cell" class="device-latest">
        {readings.map(([event, reading]) => <span key={event} title={event}><small>{event}</small><b>{value(reading.value)}</b></span>)}
        {readings.length === 0 && <span class="soft small">no readings</span>}
      </span>
      {roomy && <span role="cell" class="tags">{device.tags.slice(0, 3).map((tag) => <span class="tag" key={tag}>{tag}</span>)}{device.tags.length > 3 && <span class="tag">+{device.tags.length - 3}</span>}</span>}
      {roomy && <span role="cell" class="soft small nowrap"><Ago at={device.last_active_at} /></span>}
    </div>
  );
}
