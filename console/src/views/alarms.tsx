// Alarms: what is wrong now, what was, and what users did about it.
import { useEffect, useRef, useState } from 'preact/hooks';
import { api, newKey } from '../api';
import { duration, exactly, value, when, words } from '../format';
import type { ViewProps } from '../lazy';
import { on } from '../live';
import { useGet, useList } from '../load';
import { query, setQuery } from '../router';
import { user } from '../session';
import type { Alarm, AlarmDetails, Severity } from '../types';
import { Icon } from '../ui/icons';
import { Ago, Badge, Button, Card, Choice, Empty, Facts, Failed, Field, Form, LinkButton, More, Page, Select, Show, Skeleton, useAction, Wrong, type Tone } from '../ui/kit';

export const severities: Severity[] = ['critical', 'major', 'minor', 'warning', 'info'];
export const severityTones: Record<Severity, Tone> = { critical: 'bad', major: 'bad', minor: 'warn', warning: 'warn', info: 'info' };

export function Alarms() {
  const state = query.value.get('state') ?? 'active';
  const asked = { state: state === 'all' ? null : state, severity: query.value.get('severity'), acknowledged: query.value.get('acknowledged') };
  return (
    <Page title="Alarms" actions={<><Choice label="Which" value={state} options={[['active', 'Active'], ['cleared', 'Cleared'], ['all', 'All']]} onPick={(v) => setQuery({ state: v === 'active' ? null : v })} /><LinkButton icon="rule" href="/rules">Rules</LinkButton></>}>
      <div class="filters">
        <Select hidden label="Severity" value={asked.severity ?? ''} onPick={(v) => setQuery({ severity: v })} options={[['', 'Any severity'], ...severities.map((one) => [one, words(one)] as const)]} />
        <Select hidden label="Acknowledged" value={asked.acknowledged ?? ''} onPick={(v) => setQuery({ acknowledged: v })} options={[['', 'Acknowledged or not'], ['false', 'Not acknowledged'], ['true', 'Acknowledged']]} />
      </div>
      <AlarmList query={{ ...asked, sort: state === 'active' ? '-severity' : '-raised_at' }} none={asked.severity || asked.acknowledged ? 'No alarms like this' : state === 'active' ? 'Nothing is wrong' : 'No alarms'} />
    </Page>
  );
}

// DeviceAlarms is the tab of a device.
export const DeviceAlarms = ({ params: { id = '' } }: ViewProps) => (
  <>
    <div class="actions"><LinkButton icon="plus" href={`/rules/new?device=${id}`}>New rule for this device</LinkButton></div>
    <AlarmList query={{ device_id: id, sort: '-raised_at' }} none="No alarms of this device" />
  </>
);

// AlarmList is a list of alarms that follows its events.
export function AlarmList({ query: asked, none }: { query: Record<string, string | null>; none: string }) {
  const list = useList((api) => api.listAlarms({ ...asked, limit: 50 }));
  const current = useRef(list);
  current.current = list;
  useEffect(() => on<Alarm>('alarm', (alarm) => {
    const { data, set, reload } = current.current;
    if (data?.some((one) => one.id === alarm.id) && (!asked.state || alarm.state === asked.state)) set((all) => all.map((one) => (one.id === alarm.id ? { ...one, ...alarm } : one)));
    else reload();
  }), [JSON.stringify(asked)]);
  return (
    <Card flush>
      {!list.data ? (list.error && list.error.status !== 0 ? <Failed problem={list.error} again={list.reload} /> : <Skeleton rows={5} />)
        : list.data.length === 0 ? <Empty icon="check" title={none} action={<LinkButton icon="rule" href="/rules">Rules</LinkButton>}>A rule says what is wrong: a value that is too high for a while, a silence, or an expression.</Empty>
        : <ul class="rows">{list.data.map((alarm) => <Row key={alarm.id} alarm={alarm} changed={(now) => list.set((all) => all.map((one) => (one.id === now.id ? { ...one, ...now } : one)))} />)}</ul>}
      <More more={list.more} />
    </Card>
  );
}

function Row({ alarm, changed }: { alarm: Alarm; changed: (now: Alarm) => void }) {
  const acknowledge = useAction(async () => changed(await api.acknowledgeAlarm(alarm.id)));
  return (
    <li>
      <div>
        <a href={`/alarms/${alarm.id}`}>{alarm.rule_name}</a> <span class="soft">on</span> <a href={`/devices/${alarm.device_id}`}>{alarm.device_name}</a>
        <small>{alarm.state === 'active' ? 'since' : 'raised'} <Ago at={alarm.raised_at} />{alarm.cleared_at && <> · cleared <Ago at={alarm.cleared_at} /></>}{alarm.value !== null && <> · {value(alarm.value)}</>}{alarm.count > 1 && <> · {alarm.count} times</>}</small>
        <Wrong problem={acknowledge.problem} />
      </div>
      <Badge tone={alarm.state === 'active' ? severityTones[alarm.severity] : 'soft'}>{alarm.severity}</Badge>
      {alarm.acknowledged ? <span class="soft small seen"><Icon name="check" size={16} />acknowledged</span> : alarm.state === 'active' && <Button busy={acknowledge.busy} onClick={() => acknowledge.run()}>Acknowledge</Button>}
    </li>
  );
}

// useWho names the users of an alarm's history: members of the device's organization.
function useWho(alarm: AlarmDetails | undefined): (id: string) => string {
  const me = user.value?.id;
  const others = alarm?.history.some((entry) => entry.user_id && entry.user_id !== me);
  const org = useGet(alarm && others ? (api) => api.getDevice(alarm.device_id) : null).data?.organization_id;
  const members = useGet(org ? (api) => api.listMembers(org, { limit: 200 }) : null).data?.items;
  return (id) => (id === me ? 'you' : members?.find((one) => one.user_id === id)?.name ?? 'another user');
}

const what: Record<string, string> = { raised: 'Raised', acknowledged: 'Acknowledged', comment: 'Comment', cleared: 'Cleared' };

export function OneAlarm({ params: { id = '' } }: ViewProps) {
  const loaded = useGet((api) => api.getAlarm(id));
  const reload = useRef(loaded.reload);
  reload.current = loaded.reload;
  useEffect(() => on<Alarm>('alarm', (alarm) => { if (alarm.id === id) reload.current(); }), [id]);
  const [key, setKey] = useState(newKey);
  const act = useAction(async (work: 'acknowledgeAlarm' | 'clearAlarm') => { const now = await api[work](id); loaded.set(() => now); });
  const alarm = loaded.data;
  const name = useWho(alarm);
  return (
    <Page
      title={alarm?.rule_name ?? 'Alarm'} back={{ href: '/alarms', text: 'Alarms' }}
      lead={alarm && <><Badge tone={alarm.state === 'active' ? severityTones[alarm.severity] : 'soft'}>{alarm.severity}</Badge><Badge tone={alarm.state === 'active' ? 'bad' : 'good'}>{alarm.state}</Badge><span>on <a href={`/devices/${alarm.device_id}`}>{alarm.device_name}</a></span></>}
      actions={alarm && <>{!alarm.acknowledged && <Button look="main" icon="check" busy={act.busy} onClick={() => act.run('acknowledgeAlarm')}>Acknowledge</Button>}{alarm.state === 'active' && <Button busy={act.busy} onClick={() => act.run('clearAlarm')}>Clear</Button>}</>}
    >
      <Wrong problem={act.problem} />
      <Show from={loaded}>
        {(data) => (
          <>
            <Card>
              <Facts facts={[
                ['Raised', exactly(data.raised_at)], ['Cleared', data.cleared_at ? exactly(data.cleared_at) : 'not yet'],
                ['Lasted', duration(((data.cleared_at ? Date.parse(data.cleared_at) : Date.now()) - Date.parse(data.raised_at)) / 1000)], ['Newest value', value(data.value)],
                ['Readings', String(data.count)], ['Newest', when(data.last_at)], ['Rule', <a href={`/rules/${data.rule_id}`}>{data.rule_name}</a>],
              ]} />
            </Card>
            <Card title="History">
              <ul class="rows">
                {data.history.map((entry, i) => <li key={i}><div><span class="strong">{what[entry.event] ?? words(entry.event)}</span>{entry.user_id && <span class="soft"> by {name(entry.user_id)}</span>}{entry.text && <small class="said">{entry.text}</small>}</div><span class="soft small nowrap"><Ago at={entry.at} /></span></li>)}
              </ul>
              <Form submit="Comment" key={data.history.length} onFields={() => setKey(newKey())} send={async ({ text = '' }) => { const now = await api.commentAlarm(id, { text }, { idempotencyKey: key }); loaded.set(() => now); setKey(newKey()); }}>
                {(problem) => <Field label="Comment" name="text" required maxLength={1000} autocomplete="off" error={problem?.fields.text} />}
              </Form>
            </Card>
          </>
        )}
      </Show>
    </Page>
  );
}
