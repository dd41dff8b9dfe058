// The range of time that a view shows, in its address: a preset such as 24h, or from and to.
import { useState } from 'preact/hooks';
import { query, setQuery } from '../router';
import { Button, Choice, Dialog, Field, Form } from './kit';

export interface Range { from: number; to: number; preset: string }

const hour = 3_600_000;
const presets = [['1h', '1 h', hour], ['24h', '1 d', 24 * hour], ['7d', '7 d', 168 * hour], ['30d', '30 d', 720 * hour], ['365d', '1 y', 8760 * hour]] as const;

// rangeOf reads the range of the address; now is when the view was opened, or brought up to date.
export function rangeOf(now: number): Range {
  const from = Date.parse(query.value.get('from') ?? '');
  const to = Date.parse(query.value.get('to') ?? '');
  if (from < to) return { from, to, preset: '' };
  const preset = presets.find(([name]) => name === query.value.get('range')) ?? presets[1];
  return { from: now - preset[2], to: now, preset: preset[0] };
}

export function setRange(from: number, to: number) {
  setQuery({ range: null, from: new Date(from).toISOString(), to: new Date(to).toISOString() }, true);
}

export type Step = 'minute' | 'hour' | 'day' | 'week' | 'month';

// interval is the step of rollups that shows the span in up to about 1,500 points.
export function interval(from: number, to: number): Step {
  const span = to - from;
  return span <= 25 * hour ? 'minute' : span <= 62 * 24 * hour ? 'hour' : span <= 4 * 8766 * hour ? 'day' : 'week';
}

export const steps: Record<Step, number> = { minute: 60_000, hour, day: 24 * hour, week: 168 * hour, month: 744 * hour };

const local = (ms: number) => new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

export function RangePicker({ range }: { range: Range }) {
  const [open, setOpen] = useState(false);
  const span = range.to - range.from;
  const shift = (by: number) => setRange(range.from + by, range.to + by);
  return (
    <div class="actions">
      <Choice label="Range" options={presets.map(([name, text]) => [name, text] as const)} value={range.preset} onPick={(name) => setQuery({ range: name, from: null, to: null }, true)} />
      <span class="pair">
        <Button icon="left" aria-label="Earlier" title="Earlier" onClick={() => shift(-span / 2)} />
        <Button icon="right" aria-label="Later" title="Later" disabled={range.to >= Date.now() - 60_000} onClick={() => shift(Math.min(span / 2, Date.now() - range.to))} />
      </span>
      <Button onClick={() => setRange(range.from + span / 4, range.to - span / 4)}>Zoom in</Button>
      <Button onClick={() => setRange(range.from - span / 2, Math.min(range.to + span / 2, Date.now()))}>Zoom out</Button>
      <Button icon="clock" onClick={() => setOpen(true)}>Dates</Button>
      {open && (
        <Dialog title="From and to" close={() => setOpen(false)}>
          <Form
            submit="Show"
            send={async ({ from = '', to = '' }) => {
              if (!(new Date(from) < new Date(to))) throw new Error('The end must be after the start.');
              setRange(new Date(from).getTime(), new Date(to).getTime());
              setOpen(false);
            }}
          >
            {() => <div class="row"><Field label="From" name="from" type="datetime-local" required defaultValue={local(range.from)} /><Field label="To" name="to" type="datetime-local" required defaultValue={local(range.to)} /></div>}
          </Form>
        </Dialog>
      )}
    </div>
  );
}
