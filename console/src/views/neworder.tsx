// The form of an export.
import { useState } from 'preact/hooks';
import { api, newKey } from '../api';
import { plural } from '../format';
import type { Export, ExportFormat, ExportType } from '../types';
import { Check, Dialog, Field, Form, Select } from '../ui/kit';

export const types = [['logs', 'Logs'], ['usage_report', 'Usage report'], ['device_report', 'Device report']] as const;
export const formats = [['csv', 'CSV'], ['json', 'JSON'], ['ndjson', 'NDJSON'], ['parquet', 'Parquet']] as const;
const ranges = [['24h', 'The last day'], ['7d', 'The last 7 days'], ['30d', 'The last 30 days'], ['365d', 'The last year'], ['', 'All time'], ['dates', 'From and to']] as const;

export function NewExport({ close, made, devices }: { close: () => void; made: (x: Export) => void; devices: string[] }) {
  const [key, setKey] = useState(newKey);
  const [type, setType] = useState<ExportType>('logs');
  const [format, setFormat] = useState<ExportFormat>('csv');
  const [range, setRange] = useState('7d');
  const [compression, setCompression] = useState<'none' | 'gzip' | 'zstd'>('none');
  return (
    <Dialog title="New export" close={close}>
      <Form
        submit="Start" onFields={() => setKey(newKey())}
        send={async ({ from, to, events, notify, inactive }) => {
          const named = (events ?? '').split(',').map((event) => event.trim()).filter(Boolean);
          made(await api.createExport({
            type, format, ...(compression !== 'none' && { compression }),
            ...(range === 'dates' ? { from: new Date(from ?? '').toISOString(), to: new Date(to ?? '').toISOString() } : range && { range }),
            filters: { ...(devices.length && { device_ids: devices }), ...(named.length && { events: named }), ...(inactive && { include_inactive: true }) },
            ...(notify && { notify: true }),
          }, { idempotencyKey: key }));
        }}
      >
        {(problem) => (
          <>
            {devices.length > 0 && <p class="soft">Of {plural(devices.length, 'device')} that you selected.</p>}
            <div class="row">
              <Select label="What" value={type} onPick={setType} options={types} />
              <Select label="Format" value={format} onPick={setFormat} options={formats} />
            </div>
            <div class="row">
              <Select label="When" value={range} onPick={setRange} options={ranges} />
              <Select label="Compression" value={compression} onPick={setCompression} options={[['none', 'None'], ['gzip', 'gzip'], ['zstd', 'zstd']]} />
            </div>
            {range === 'dates' && <div class="row"><Field label="From" name="from" type="datetime-local" required error={problem?.fields.from} /><Field label="To (excluded)" name="to" type="datetime-local" required error={problem?.fields.to} /></div>}
            <Field label="Events (optional)" name="events" placeholder="temperature, humidity" autocomplete="off" hint="Separated by commas; empty is all" error={problem?.fields['filters.events']} />
            {type !== 'logs' && <Check name="inactive" label="With inactive devices" />}
            <Check name="notify" label="E-mail me when it is ready" />
          </>
        )}
      </Form>
    </Dialog>
  );
}
