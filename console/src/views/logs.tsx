// The log table of a device, and the deletion of a span.
import { useEffect, useState } from 'preact/hooks';
import { api } from '../api';
import { count, exactly, value } from '../format';
import type { ViewProps } from '../lazy';
import { on } from '../live';
import { useGet, useList } from '../load';
import { query, setQuery } from '../router';
import type { Log, LogSummary } from '../types';
import { Button, Card, Confirm, Dialog, Empty, Failed, Field, LinkButton, More, Scroll, Select, Skeleton, toast } from '../ui/kit';

export function Logs({ params: { id = '', edit = '' } }: ViewProps) {
  const event = query.value.get('event') ?? '';
  const order = query.value.get('order') === 'asc' ? 'asc' : 'desc';
  const latest = useGet((api) => api.latestLogs(id));
  const list = useList((api) => api.listLogs(id, { event, order, limit: 100 }));
  const [fresh, setFresh] = useState(0);
  const [cut, setCut] = useState(false);
  useEffect(() => {
    setFresh(0);
    return on<Log | LogSummary>('device-log', (data) => {
      if (data.device_id === id && (!event || ('event' in data ? data.event === event : event in data.latest))) setFresh((n) => n + ('count' in data ? data.count : 1));
    });
  }, [id, event]);
  const logs = list.data;
  return (
    <>
      <div class="filters">
        <Select hidden label="Event" value={event} onPick={(v) => setQuery({ event: v })} options={[['', 'All events'], ...(latest.data?.items ?? []).map((item) => [item.event, item.event] as const)]} />
        <Select hidden label="Order" value={order} onPick={(v) => setQuery({ order: v === 'desc' ? null : v })} options={[['desc', 'Newest first'], ['asc', 'Oldest first']]} />
        {fresh > 0 && order === 'desc' && <Button look="plain" icon="refresh" onClick={() => { setFresh(0); list.reload(); }}>Show {count(fresh)} new</Button>}
        <span class="spring" />
        <LinkButton icon="export" href={`/exports?new=1&devices=${id}`}>Export</LinkButton>
        {edit && <Button look="bad" icon="trash" onClick={() => setCut(true)}>Delete a span</Button>}
      </div>
      <Card flush>
        {!logs ? (list.error && list.error.status !== 0 ? <Failed problem={list.error} again={list.reload} /> : <Skeleton rows={8} />)
          : logs.length === 0 ? <Empty title="No logs">{event ? 'This event has none.' : 'The device has sent nothing yet.'}</Empty> : (
            <Scroll label="Logs"><table class="table">
              <thead><tr><th scope="col">Time</th><th scope="col">Event</th><th scope="col" class="right">Value</th></tr></thead>
              <tbody>{logs.map((log) => <tr key={log.id}><td class="soft nowrap-big">{exactly(log.timestamp)}</td><td class="mono">{log.event}</td><td class="right num strong">{value(log.value)}</td></tr>)}</tbody>
            </table></Scroll>
          )}
        <More more={list.more} />
      </Card>
      {cut && <Cut id={id} event={event} close={() => setCut(false)} done={list.reload} />}
    </>
  );
}

// Cut asks for a span, then for certainty.
function Cut({ id, event, close, done }: { id: string; event: string; close: () => void; done: () => void }) {
  const [span, setSpan] = useState<{ from: string; to: string; event: string } | null>(null);
  if (span) {
    return (
      <Confirm
        title="Delete these logs?" button="Delete" close={close}
        text={<>All logs {span.event && <>of <b>{span.event}</b> </>}from {exactly(span.from)} to {exactly(span.to)} are deleted for ever. Analytics follow at once.</>}
        act={async () => {
          const { deleted } = await api.deleteLogs(id, { from: span.from, to: span.to, event: span.event });
          toast(`${count(deleted)} logs deleted`);
          done();
        }}
      />
    );
  }
  return (
    <Dialog title="Delete a span of logs" close={close}>
      <form
        class="form"
        onSubmit={(e) => {
          e.preventDefault();
          const fields = new FormData(e.currentTarget);
          const at = (field: string) => new Date(String(fields.get(field))).toISOString();
          setSpan({ from: at('from'), to: at('to'), event: String(fields.get('event')) });
        }}
      >
        <div class="row">
          <Field label="From" name="from" type="datetime-local" step="1" required autofocus />
          <Field label="To (excluded)" name="to" type="datetime-local" step="1" required />
        </div>
        <Field label="Event" name="event" defaultValue={event} hint="Empty: all events" autocomplete="off" />
        <div class="form-foot"><Button type="submit" look="main">Continue</Button></div>
      </form>
    </Dialog>
  );
}
