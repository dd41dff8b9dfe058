// The log table of a device, and the deletion of a span.
import { useEffect, useState } from 'preact/hooks';
import { count, exactly, value } from '../format';
import type { ViewProps } from '../lazy';
import { on } from '../live';
import { useGet, useList } from '../load';
import { query, setQuery } from '../router';
import type { Log, LogSummary } from '../types';
import { Button, Card, Empty, Failed, LinkButton, More, Scroll, Select, Skeleton } from '../ui/kit';
import { Cut } from './cut';

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
      {cut && <Cut id={id} events={event ? [event] : []} close={() => setCut(false)} done={list.reload} />}
    </>
  );
}

