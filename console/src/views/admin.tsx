// Administration: users, jobs, the audit log, health and figures.
import { useEffect, useState } from 'preact/hooks';
import { api, address, save } from '../api';
import { bytes, compact, count, day, duration, exactly, number, percent, rate, words } from '../format';
import { useAgain, useGet, useList } from '../load';
import { query, setQuery } from '../router';
import { user } from '../session';
import type { AuditEntry, Health, Job, JobState, ManagedUser, QueueName, UserRole } from '../types';
import { Icon } from '../ui/icons';
import { Ago, Badge, Button, Card, Confirm, Dialog, Empty, Facts, Failed, IconButton, More, Page, Scroll, Select, Show, Skeleton, Wrong, toast, useAction, type Tone } from '../ui/kit';

export function Users() {
  const q = query.value.get('q') ?? '';
  const role = query.value.get('role') ?? '';
  const list = useList((api) => api.listUsers({ q, role: role as UserRole, limit: 50, count: true }));
  const [text, setText] = useState(q);
  const [off, setOff] = useState<ManagedUser | null>(null);
  useEffect(() => {
    const timer = setTimeout(() => setQuery({ q: text }), 250);
    return () => clearTimeout(timer);
  }, [text]);
  const change = useAction(async (one: ManagedUser, to: Partial<ManagedUser> & { unlock?: true }) => {
    const now = await api.updateUser(one.id, to);
    list.set((all) => all.map((each) => (each.id === now.id ? { ...each, ...now } : each)));
    toast(to.unlock ? `${one.name} may sign in again` : 'Saved');
  });
  return (
    <Page title="Users" lead={list.total !== undefined && `${count(list.total)} in all`}>
      <div class="filters" role="search">
        <div class="search"><Icon name="search" size={18} /><input type="search" aria-label="Search by name or e-mail" placeholder="Search by name or e-mail" value={text} onInput={(e) => setText(e.currentTarget.value)} /></div>
        <Select hidden label="Role" value={role} onPick={(v) => setQuery({ role: v })} options={[['', 'Any role'], ['admin', 'Administrators'], ['user', 'Users']]} />
      </div>
      <Wrong problem={change.problem} />
      <Card flush>
        {!list.data ? (list.error && list.error.status !== 0 ? <Failed problem={list.error} again={list.reload} /> : <Skeleton rows={6} />)
          : list.data.length === 0 ? <Empty icon="people" title="No user is like this" /> : (
            <ul class="rows">
              {list.data.map((one) => (
                <li key={one.id}>
                  <div><span class="strong">{one.name}</span> {one.disabled && <Badge tone="bad">disabled</Badge>}<small>{one.email} · since {day(one.created_at)} · last sign-in <Ago at={one.last_login_at} /></small></div>
                  {one.id === user.value?.id ? <Badge>{one.role}, you</Badge> : (
                    <>
                      <Select hidden label={`Role of ${one.name}`} value={one.role} onPick={(to) => change.run(one, { role: to })} options={[['user', 'User'], ['admin', 'Administrator']]} />
                      <Button busy={change.busy} onClick={() => change.run(one, { unlock: true })}>Unlock</Button>
                      {one.disabled ? <Button busy={change.busy} onClick={() => change.run(one, { disabled: false })}>Enable</Button> : <Button look="bad" onClick={() => setOff(one)}>Disable</Button>}
                    </>
                  )}
                </li>
              ))}
            </ul>
          )}
        <More more={list.more} />
      </Card>
      {off && <Confirm title={`Disable ${off.name}?`} button="Disable" text="The user is signed out everywhere at once and cannot sign in. Devices go on." close={() => setOff(null)} act={async () => { const now = await api.updateUser(off.id, { disabled: true }); list.set((all) => all.map((each) => (each.id === now.id ? { ...each, ...now } : each))); }} />}
    </Page>
  );
}

const states = ['pending', 'running', 'scheduled', 'retrying', 'completed', 'dead'] as const;
const jobTones: Record<string, Tone> = { pending: 'info', running: 'info', scheduled: 'soft', retrying: 'warn', completed: 'good', dead: 'bad' };

const queueNames: QueueName[] = ['export', 'notification', 'channel', 'cleanup'];

export function Jobs() {
  const queue = query.value.get('queue') ?? '';
  const state = query.value.get('state') ?? '';
  const queues = useGet((api) => api.listQueues(), 5000);
  const list = useList((api) => api.listJobs({ queue: queue as QueueName, state: state as JobState, limit: 50 }));
  useAgain(list.data !== undefined && list.data.length <= 50 && list.data.some((job) => job.state !== 'completed' && job.state !== 'dead'), list.reload);
  const [gone, setGone] = useState<Job | null>(null);
  const again = useAction(async (job: Job) => { await api.retryJob(job.id); toast('It runs again'); list.reload(); queues.reload(); });
  return (
    <Page title="Jobs" actions={<Button icon="refresh" onClick={() => { list.reload(); queues.reload(); }}>Refresh</Button>}>
      <Show from={queues} rows={2}>
        {({ items }) => (
          <Card title="Queues" flush>
            <Scroll label="Queues">
              <table class="table">
                <thead><tr><th scope="col">Queue</th>{states.map((one) => <th scope="col" class="right" key={one}>{words(one)}</th>)}</tr></thead>
                <tbody>
                  {items.map((one) => (
                    <tr key={one.queue}>
                      <td><a href={address('/admin/jobs', { queue: one.queue })}>{words(one.queue)}</a></td>
                      {states.map((each) => <td class={`right num ${each === 'dead' && one.dead > 0 ? 'bad strong' : ''}`} key={each}><a href={address('/admin/jobs', { queue: one.queue, state: each })}>{count(one[each])}</a></td>)}
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
          </Card>
        )}
      </Show>
      <div class="filters">
        <Select hidden label="Queue" value={queue} onPick={(v) => setQuery({ queue: v })} options={[['', 'All queues'], ...queueNames.map((one) => [one, words(one)] as const)]} />
        <Select hidden label="State" value={state} onPick={(v) => setQuery({ state: v })} options={[['', 'All states'], ...states.map((one) => [one, words(one)] as const)]} />
      </div>
      <Wrong problem={again.problem} />
      <Card flush>
        <Show from={list}>
          {(jobs) => jobs.length === 0 ? <Empty icon="check" title="No jobs like this">{state === 'dead' ? 'Nothing has failed for good.' : ''}</Empty> : (
            <ul class="rows">
              {jobs.map((job) => (
                <li key={job.id}>
                  <div><span class="mono strong">{job.kind}</span><small>{words(job.queue)} · made <Ago at={job.created_at} /> · attempt {job.attempt} of {job.max_attempts}</small>{job.last_error && <small class="bad">{job.last_error}</small>}</div>
                  <Badge tone={jobTones[job.state] ?? 'soft'}>{job.state}</Badge>
                  {(job.state === 'dead' || job.state === 'retrying') && <Button icon="refresh" busy={again.busy} onClick={() => again.run(job)}>Retry</Button>}
                  {job.state !== 'running' && <IconButton icon="trash" label={`Delete the job ${job.kind}`} onClick={() => setGone(job)} />}
                </li>
              ))}
            </ul>
          )}
        </Show>
        <More more={list.more} />
      </Card>
      {gone && <Confirm title="Delete this job?" button="Delete" text="What it was to do is not done." close={() => setGone(null)} act={async () => { await api.deleteJob(gone.id); list.reload(); queues.reload(); }} />}
    </Page>
  );
}

export function Audit() {
  const asked = Object.fromEntries(['actor_id', 'action', 'target', 'range'].map((name) => [name, query.value.get(name) ?? '']));
  const list = useList((api) => api.listAudit({ ...asked, limit: 50 }));
  const [shown, setShown] = useState<AuditEntry | null>(null);
  const users = useGet((api) => api.listUsers({ limit: 200, fields: 'id,email' }));
  // who says an id of a user by the e-mail, where it is known.
  const who = (name: string) => users.data?.items.find(({ id }) => name.replace(/^user:/, '') === id)?.email ?? short(name);
  const file = useAction(() => save(() => api.exportAudit({ ...asked, format: 'ndjson' }), 'audit.ndjson'));
  return (
    <Page title="Audit log" lead="Who changed what. Entries are chained by hash and cannot be edited." actions={<Button icon="export" busy={file.busy} onClick={() => file.run()}>Save NDJSON</Button>}>
      <form class="filters" role="search" onSubmit={(e) => { e.preventDefault(); setQuery(Object.fromEntries(new FormData(e.currentTarget)) as Record<string, string>); }}>
        <div class="search"><Icon name="search" size={18} /><input name="action" aria-label="Action" placeholder="Action, such as device.delete" defaultValue={asked.action ?? ''} /></div>
        <div class="search plain"><Icon name="search" size={18} /><input name="target" aria-label="Target" placeholder="Target, such as device:ID" defaultValue={asked.target ?? ''} /></div>
        <Select hidden label="Range" value={asked.range ?? ''} onPick={(v) => setQuery({ range: v })} options={[['', 'All time'], ['24h', 'The last day'], ['7d', 'The last 7 days'], ['30d', 'The last 30 days']]} />
        <Button type="submit">Find</Button>
      </form>
      <Wrong problem={file.problem} />
      <Card flush>
        <Show from={list} rows={8}>
          {(entries) => entries.length === 0 ? <Empty icon="shield" title="No entry is like this" /> : (
            <table class="table stack">
              <thead><tr><th scope="col">Action</th><th scope="col">Target</th><th scope="col">Who</th><th scope="col">Time</th><th scope="col"><span class="unseen">Details</span></th></tr></thead>
              <tbody>
                {entries.map((one) => (
                  <tr key={one.seq}>
                    <td class="mono">{one.action} {one.result !== 'ok' && <Badge tone="bad">{one.result}</Badge>}</td>
                    <td class="mono soft">{who(one.target)}</td><td class="mono soft">{who(one.actor_id) || 'the server'}</td>
                    <td class="soft small nowrap"><Ago at={one.at} /></td>
                    <td class="right"><IconButton icon="right" label={`Details of entry ${one.seq}`} onClick={() => setShown(one)} /></td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </Show>
        <More more={list.more} />
      </Card>
      {shown && (
        <Dialog title={shown.action} close={() => setShown(null)} wide>
          <Facts facts={[['Entry', count(shown.seq)], ['Time', exactly(shown.at)], ['Result', shown.result], ['Target', <code>{shown.target}</code>], ['Who', <code>{shown.actor_id || 'the server'}</code>], ['Address', shown.ip || '–'], ['Request', <code>{shown.request_id || '–'}</code>], ['Program', shown.user_agent || '–']]} />
          {shown.changes && Object.keys(shown.changes).length > 0 && <pre class="json" tabIndex={0} aria-label="Changes">{JSON.stringify(shown.changes, null, 2)}</pre>}
        </Dialog>
      )}
    </Page>
  );
}

// short leaves of an id what tells it apart.
const short = (name: string) => name.replace(/([0-9a-f]{8})-[0-9a-f-]{18}-?[0-9a-f]*?([0-9a-f]{6})$/, '$1…$2');

export function Server() {
  const health = useGetHealth();
  const figures = useGet((api) => api.getMetrics(), 5000);
  return (
    <Page title="Server" lead={health && <><Badge tone={health.status === 'ok' ? 'good' : 'bad'}>{health.status}</Badge><span>{health.version}</span><span>up {duration(health.uptime_seconds)}</span></>}>
      <Show from={figures} rows={8}>
        {(data) => (
          <>
            <div class="figures">
              <div class="figure"><span>Requests per second</span><b>{rate(data.requests.per_second)}</b><small>{compact(data.requests.total)} in all</small></div>
              <div class="figure"><span>Latency, 99 %</span><b>{number(data.latency_ms.p99)} ms</b><small>half within {number(data.latency_ms.p50)} ms</small></div>
              <div class="figure"><span>Server errors</span><b class={data.requests.error_rate_5xx > 0 ? 'bad' : ''}>{percent(data.requests.error_rate_5xx)}</b><small>{percent(data.requests.error_rate_4xx)} refused</small></div>
              <div class="figure"><span>Memory</span><b>{bytes(data.process.memory)}</b><small>{percent(data.process.cpu)} of a core, {count(data.process.goroutines)} goroutines</small></div>
              <div class="figure"><span>Database</span><b>{bytes(data.database.bytes)}</b><small>{data.database.engine}, {data.database.state}, {number(data.database.latency_ms)} ms</small></div>
              <div class="figure"><span>Cache hits</span><b>{percent(data.cache.hit_rate)}</b><small>{data.instances === 1 ? '1 instance' : `${count(data.instances)} instances`}</small></div>
            </div>
            {health && (
              <Card title="What it depends on">
                <Facts facts={Object.entries(health.dependencies).map(([name, state]) => [words(name), <Dependency of={state} />] as const)} />
              </Card>
            )}
            <Card title="Slowest routes" flush>
              <Scroll label="Slowest routes">
                <table class="table">
                  <thead><tr><th scope="col">Route</th><th scope="col" class="right">Requests</th><th scope="col" class="right">50 %</th><th scope="col" class="right">99 %</th></tr></thead>
                  <tbody>
                    {[...data.routes].sort((a, b) => b.latency_ms.p99 - a.latency_ms.p99).slice(0, 12).map((one) => (
                      <tr key={one.route}><td class="mono">{one.route}</td><td class="right num">{compact(one.total)}</td><td class="right num nowrap">{number(one.latency_ms.p50)} ms</td><td class="right num nowrap">{number(one.latency_ms.p99)} ms</td></tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            </Card>
          </>
        )}
      </Show>
    </Page>
  );
}

function Dependency({ of }: { of: Health['dependencies'][string] }) {
  return <><Badge tone={of.state === 'ok' ? 'good' : of.state === 'disabled' ? 'soft' : 'bad'}>{of.state}</Badge>{of.state === 'ok' && <span class="soft small"> {number(of.latency_ms)} ms</span>}</>;
}

// useGetHealth reads the health, which is next to the API and answers 503 where something is missing.
function useGetHealth(): Health | undefined {
  const [health, setHealth] = useState<Health>();
  useEffect(() => {
    const read = () => void fetch('/health', { cache: 'no-store' }).then((answer) => answer.json() as Promise<Health>).then(setHealth, () => undefined);
    read();
    const timer = setInterval(read, 10_000);
    return () => clearInterval(timer);
  }, []);
  return health;
}
