// Files of logs and reports: ordered, followed while they are made, fetched, and made again on a schedule.
import { useEffect, useRef, useState } from 'preact/hooks';
import { api, save } from '../api';
import { bytes, compact, count, when, words } from '../format';
import type { ViewProps } from '../lazy';
import { on } from '../live';
import { useGet, useList } from '../load';
import { navigate, query, setQuery } from '../router';
import type { Export } from '../types';
import { Ago, Badge, Button, Card, Confirm, Empty, Facts, Failed, IconButton, More, Page, Progress, Show, Skeleton, Tabs, useAction, Wrong, type Tone } from '../ui/kit';
import { NewExport } from './neworder';
import { Schedules } from './schedules';

const tones: Record<Export['status'], Tone> = { queued: 'info', running: 'info', completed: 'good', failed: 'bad', cancelled: 'soft' };
const open = (x: Export) => x.status === 'queued' || x.status === 'running';

// later is which of two states of an export came last: the event of its end may be faster than the answer that it is queued.
const stages: Record<Export['status'], number> = { queued: 0, running: 1, completed: 2, failed: 2, cancelled: 2 };
const later = (a: Export, b: Export) => (stages[b.status] < stages[a.status] ? a : b);

export const title = (x: Pick<Export, 'type' | 'format'>) => `${words(x.type)}, ${x.format.toUpperCase()}`;

export function Exports() {
  const schedules = query.value.get('tab') === 'schedules';
  return (
    <Page title="Exports" actions={<Button look="main" icon="plus" onClick={() => setQuery({ new: '1' }, true)}>{schedules ? 'New schedule' : 'New export'}</Button>}>
      <Tabs label="Exports" now={schedules ? '/exports?tab=schedules' : '/exports'} tabs={[{ href: '/exports', text: 'Files' }, { href: '/exports?tab=schedules', text: 'Schedules' }]} />
      {schedules ? <Schedules /> : <Files />}
    </Page>
  );
}

function Files() {
  const list = useList((api) => api.listExports({ limit: 50 }));
  const current = useRef(list);
  current.current = list;
  const changed = (x: Export) => current.current.set((all) => (all.some((one) => one.id === x.id) ? all.map((one) => (one.id === x.id ? later(one, x) : one)) : [x, ...all]));
  useEffect(() => on<Export>('export-progress', changed), []);
  const [gone, setGone] = useState<Export | null>(null);
  return (
    <Card flush>
      {!list.data ? (list.error && list.error.status !== 0 ? <Failed problem={list.error} again={list.reload} /> : <Skeleton rows={5} />)
        : list.data.length === 0 ? <Empty icon="export" title="No exports yet" action={<Button look="main" icon="plus" onClick={() => setQuery({ new: '1' }, true)}>New export</Button>}>Logs and reports as CSV, JSON, NDJSON or Parquet.</Empty>
        : <ul class="rows">{list.data.map((x) => <Row key={x.id} export={x} changed={changed} remove={() => setGone(x)} />)}</ul>}
      <More more={list.more} />
      {gone && <Confirm title="Delete this export?" button="Delete" text="The file is deleted. The logs stay." close={() => setGone(null)} act={async () => { await api.deleteExport(gone.id); list.set((all) => all.filter((one) => one.id !== gone.id)); }} />}
      {query.value.get('new') && <NewExport close={() => setQuery({ new: null, devices: null })} made={(x) => { changed(x); setQuery({ new: null, devices: null }); }} devices={query.value.get('devices')?.split(',') ?? []} />}
    </Card>
  );
}

function Row({ export: x, changed, remove }: { export: Export; changed: (x: Export) => void; remove: () => void }) {
  const fetchFile = useAction(() => save(() => api.downloadExport(x.id), x.result?.file_name ?? 'export'));
  const cancel = useAction(async () => changed(await api.cancelExport(x.id)));
  return (
    <li>
      <div>
        <a href={`/exports/${x.id}`}>{title(x)}</a>
        <small>
          {x.result ? `${bytes(x.result.file_size)} · ${compact(x.result.record_count)} records · ` : ''}ordered <Ago at={x.created_at} />
          {x.filters.device_ids?.length ? ` · ${count(x.filters.device_ids.length)} devices` : ''}
        </small>
        {open(x) && <Live x={x} />}
        {x.error && <small class="bad">{x.error.message}</small>}
        <Wrong problem={fetchFile.problem ?? cancel.problem} />
      </div>
      <Badge tone={tones[x.status]}>{x.status}</Badge>
      {x.status === 'completed' && <Button icon="export" busy={fetchFile.busy} onClick={() => fetchFile.run()}>Download</Button>}
      {open(x) ? <Button busy={cancel.busy} onClick={() => cancel.run()}>Cancel</Button> : <IconButton icon="trash" label={`Delete ${title(x)}`} onClick={remove} />}
    </li>
  );
}

function Live({ x }: { x: Export }) {
  const { percentage, processed_records, total_records } = x.progress;
  return (
    <div class="live-progress">
      <Progress label={`Progress of ${title(x)}`} value={percentage} />
      <small>{x.status === 'queued' ? 'waiting' : `${Math.round(percentage)} %`}{total_records > 0 && ` · ${compact(processed_records)} of ${compact(total_records)} records`}</small>
    </div>
  );
}

export function OneExport({ params: { id = '' } }: ViewProps) {
  const loaded = useGet((api) => api.getExport(id));
  const current = useRef(loaded);
  current.current = loaded;
  useEffect(() => on<Export>('export-progress', (x) => { if (x.id === id) current.current.set(() => x); }), [id]);
  return (
    <Page title={loaded.data ? title(loaded.data) : 'Export'} back={{ href: '/exports', text: 'Exports' }} lead={loaded.data && <Badge tone={tones[loaded.data.status]}>{loaded.data.status}</Badge>}>
      <Show from={loaded}>{(x) => <Detail x={x} changed={(now) => loaded.set(() => now)} />}</Show>
    </Page>
  );
}

function Detail({ x, changed }: { x: Export; changed: (x: Export) => void }) {
  const fetchFile = useAction(() => save(() => api.downloadExport(x.id), x.result?.file_name ?? 'export'));
  const cancel = useAction(async () => changed(await api.cancelExport(x.id)));
  const [sure, setSure] = useState(false);
  return (
    <Card>
      {open(x) && <Live x={x} />}
      <Facts
        facts={[
          ['Range', x.from || x.to ? `${when(x.from)} – ${when(x.to)}` : 'all time'], ['Ordered', when(x.created_at)],
          ['Devices', x.filters.device_ids?.length ? count(x.filters.device_ids.length) : 'all'], ['Events', x.filters.events?.join(', ') || 'all'],
          ...(x.result ? [['File', x.result.file_name], ['Size', bytes(x.result.file_size)], ['Records', count(x.result.record_count)], ['Downloads', count(x.result.download_count)], ['Kept until', when(x.expires_at)], ['SHA-256', <code>{x.result.sha256}</code>]] as const : []),
          ...(x.error ? [['Failed with', x.error.message]] as const : []),
        ]}
      />
      <Wrong problem={fetchFile.problem ?? cancel.problem} />
      <div class="form-foot">
        {x.status === 'completed' && <Button look="main" icon="export" busy={fetchFile.busy} onClick={() => fetchFile.run()}>Download</Button>}
        {open(x) && <Button busy={cancel.busy} onClick={() => cancel.run()}>Cancel</Button>}
        {!open(x) && <Button look="bad" icon="trash" onClick={() => setSure(true)}>Delete</Button>}
      </div>
      {sure && <Confirm title="Delete this export?" button="Delete" text="The file is deleted. The logs stay." close={() => setSure(false)} act={async () => { await api.deleteExport(x.id); navigate('/exports', { replace: true }); }} />}
    </Card>
  );
}
