// The backups that the server keeps, and a new one out of turn.
import { useEffect, useState } from 'preact/hooks';
import { api } from '../api';
import { bytes, exactly } from '../format';
import { useGet } from '../load';
import type { Job } from '../types';
import { Badge, Button, Card, Code, Empty, Page, Progress, Show, toast, useAction, Wrong } from '../ui/kit';

const ended = (job: Job) => job.state === 'completed' || job.state === 'dead';

export function Backups() {
  const list = useGet((api) => api.listBackups(), 30_000);
  const [job, setJob] = useState<Job | null>(null);
  const order = useAction(async () => setJob(await api.orderBackup()));
  const waiting = job !== null && !ended(job);
  useEffect(() => {
    if (!waiting) return;
    const look = async () => {
      const jobs = await api.listJobs({ queue: 'export', limit: 50 });
      const now = jobs.items.find(({ id }) => id === job.id);
      if (!now) return;
      setJob(now);
      if (!ended(now)) return;
      list.reload();
      if (now.state === 'completed') toast('The backup is made');
    };
    const timer = setInterval(() => void look().catch(() => undefined), 1000);
    return () => clearInterval(timer);
  }, [waiting, job?.id]);
  const newest = list.data?.items[0];
  return (
    <Page
      title="Backups" lead="Copies of everything that the server stores, without its keys"
      actions={<Button look="main" icon="plus" busy={order.busy || waiting} onClick={() => order.run()}>Back up now</Button>}
    >
      <Wrong problem={order.problem} />
      {waiting && <Card title="A backup is being made"><Progress label="Backup" value={job.progress.percentage} /><p class="soft small">{job.progress.step || 'It waits for its turn'}</p></Card>}
      {job?.state === 'dead' && <p class="wrong" role="alert">The backup failed: {job.last_error}</p>}
      <Card flush>
        <Show from={list}>
          {({ items }) => items.length === 0 ? <Empty icon="shield" title="No backups">Make one now, or set backup_schedule so that the server makes them by itself.</Empty> : (
            <ul class="rows">
              {items.map((one) => (
                <li key={one.name}>
                  <div><span class="strong">{exactly(one.created_at)}</span><small class="mono">{one.name}</small></div>
                  <span class="soft small nowrap">{bytes(one.bytes)}</span>
                  <Badge tone={one.scheduled ? 'info' : 'soft'}>{one.scheduled ? 'scheduled' : 'ordered'}</Badge>
                  <Badge tone={one.encrypted ? 'good' : 'soft'}>{one.encrypted ? 'encrypted' : 'not encrypted'}</Badge>
                </li>
              ))}
            </ul>
          )}
        </Show>
      </Card>
      {newest && (
        <Card title="Verify and restore">
          <p class="soft">On the server, with its settings. A restore writes into a new database. <a href="/docs/guide/guides/backup" target="_blank">How backups work</a></p>
          <Code label="Commands" text={`hearth backup verify ${newest.name}\nhearth backup restore ${newest.name} --to sqlite:/var/lib/hearth-new`} />
        </Card>
      )}
    </Page>
  );
}
