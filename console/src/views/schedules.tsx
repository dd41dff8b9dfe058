// Exports that are made again and again.
import { useState } from 'preact/hooks';
import { api, newKey } from '../api';
import { when, words, zone } from '../format';
import { useList } from '../load';
import { query, setQuery } from '../router';
import type { ExportFormat, ExportType, Schedule, ScheduleFrequency, Weekday } from '../types';
import { Ago, Badge, Button, Card, Confirm, Dialog, Empty, Field, Form, IconButton, More, Select, Show, useAction, Wrong } from '../ui/kit';
import { formats, types } from './neworder';

const weekdays = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'] as const;

function rhythm(one: Schedule): string {
  const at = `at ${one.at} (${one.time_zone.replaceAll('_', ' ')})`;
  if (one.every === 'weekly') return `every ${words(one.weekday ?? 'monday')} ${at}`;
  if (one.every === 'monthly') return `on day ${one.day ?? 1} of each month ${at}`;
  return `every day ${at}`;
}

export function Schedules() {
  const list = useList((api) => api.listExportSchedules({ limit: 100 }));
  const [gone, setGone] = useState<Schedule | null>(null);
  const turn = useAction(async (one: Schedule) => {
    const now = await api.updateExportSchedule(one.id, { enabled: !one.enabled });
    list.set((all) => all.map((each) => (each.id === now.id ? now : each)));
  });
  return (
    <Card flush>
      <Wrong problem={turn.problem} />
      <Show from={list}>
        {(all) => all.length === 0 ? <Empty icon="clock" title="No schedules">A schedule makes an export every day, week or month, of what came in since the last one.</Empty> : (
          <ul class="rows">
            {all.map((one) => (
              <li key={one.id}>
                <div>
                  <span class="strong">{one.name || `${words(one.type)}, ${one.format.toUpperCase()}`}</span><small>{rhythm(one)}</small>
                  <small>{one.enabled ? `next ${when(one.next_run_at)}` : 'paused'}{one.last_run_at && <> · last <Ago at={one.last_run_at} /></>}{one.last_export_id && <> · <a href={`/exports/${one.last_export_id}`}>its file</a></>}</small>
                  {one.last_error && <small class="bad">{one.last_error.message}</small>}
                </div>
                <Badge tone={one.enabled ? 'good' : 'soft'}>{one.enabled ? 'on' : 'paused'}</Badge>
                <Button busy={turn.busy} onClick={() => turn.run(one)}>{one.enabled ? 'Pause' : 'Resume'}</Button>
                <IconButton icon="trash" label={`Delete ${one.name || 'the schedule'}`} onClick={() => setGone(one)} />
              </li>
            ))}
          </ul>
        )}
      </Show>
      <More more={list.more} />
      {gone && <Confirm title="Delete this schedule?" button="Delete" text="Files that it made stay." close={() => setGone(null)} act={async () => { await api.deleteExportSchedule(gone.id); list.set((all) => all.filter((one) => one.id !== gone.id)); }} />}
      {query.value.get('new') && <NewSchedule close={() => setQuery({ new: null })} made={() => { setQuery({ new: null }); list.reload(); }} />}
    </Card>
  );
}

function NewSchedule({ close, made }: { close: () => void; made: () => void }) {
  const [key, setKey] = useState(newKey);
  const [type, setType] = useState<ExportType>('logs');
  const [format, setFormat] = useState<ExportFormat>('csv');
  const [every, setEvery] = useState<ScheduleFrequency>('daily');
  const [weekday, setWeekday] = useState<Weekday>('monday');
  return (
    <Dialog title="New schedule" close={close}>
      <Form
        submit="Save" onFields={() => setKey(newKey())}
        send={async ({ name, at = '', day }) => {
          await api.createExportSchedule({ name, type, format, every, at, time_zone: zone, ...(every === 'weekly' && { weekday }), ...(every === 'monthly' && { day: Number(day) }) }, { idempotencyKey: key });
          made();
        }}
      >
        {(problem) => (
          <>
            <Field label="Name" name="name" autofocus maxLength={100} placeholder="Weekly report" autocomplete="off" error={problem?.fields.name} />
            <div class="row"><Select label="What" value={type} onPick={setType} options={types} /><Select label="Format" value={format} onPick={setFormat} options={formats} /></div>
            <div class="row">
              <Select label="How often" value={every} onPick={setEvery} options={[['daily', 'Every day'], ['weekly', 'Every week'], ['monthly', 'Every month']]} />
              {every === 'weekly' && <Select label="On" value={weekday} onPick={setWeekday} options={weekdays.map((name) => [name, words(name)] as const)} />}
              {every === 'monthly' && <Field label="On day" name="day" type="number" min={1} max={31} defaultValue="1" required error={problem?.fields.day} />}
              <Field label="At" name="at" type="time" defaultValue="06:00" required hint={zone.replaceAll('_', ' ')} error={problem?.fields.at} />
            </div>
          </>
        )}
      </Form>
    </Dialog>
  );
}
