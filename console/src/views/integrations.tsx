// Integrations: brokers that hearth is connected to, for administrators.
import { useState } from 'preact/hooks';
import { api, newKey } from '../api';
import { useOrganizations } from '../fleet';
import { count, when } from '../format';
import type { ViewProps } from '../lazy';
import { useAgain, useGet, useList } from '../load';
import { navigate } from '../router';
import type { Integration } from '../types';
import { Ago, Badge, Button, Card, Check, Confirm, Dialog, Empty, Facts, Field, Form, More, Page, Select, Show, TextArea, useAction, Wrong, type Tone } from '../ui/kit';

type Dialect = Integration['dialects'][number];

const dialects = [
  ['tasmota', 'Tasmota'], ['zigbee2mqtt', 'Zigbee2MQTT'], ['homeassistant', 'Home Assistant discovery'], ['shelly', 'Shelly Gen2'],
  ['esphome', 'ESPHome'], ['sparkplug', 'Sparkplug B'], ['senml', 'SenML'], ['json', 'JSON by topics'],
] as const;

function state(one: Integration): { text: string; tone: Tone } {
  if (!one.enabled) return { text: 'off', tone: 'soft' };
  if (one.status === 'off') return { text: 'connecting', tone: 'info' };
  return one.status === 'connected' ? { text: 'connected', tone: 'good' } : { text: 'error', tone: 'bad' };
}

const named = (one: Integration) => one.dialects.map((name) => dialects.find(([id]) => id === name)?.[1] ?? name).join(', ');

export function Integrations() {
  const list = useList((api) => api.listIntegrations({ limit: 100 }));
  const [adding, setAdding] = useState(false);
  useAgain(list.data?.some((one) => one.enabled && one.status === 'off') ?? false, list.reload);
  return (
    <Page title="Integrations" lead="Devices of an MQTT broker that runs already" actions={<Button look="main" icon="plus" onClick={() => setAdding(true)}>New integration</Button>}>
      <Card flush>
        <Show from={list}>
          {(all) => all.length === 0 ? <Empty icon="hook" title="No integrations">Tasmota, Zigbee2MQTT, Shelly, ESPHome, Home Assistant discovery, Sparkplug B and plain JSON, read from your broker and switched from here.</Empty> : (
            <ul class="rows">{all.map((one) => (
              <li key={one.id}>
                <div><a href={`/admin/integrations/${one.id}`}>{one.name}</a><small><span class="mono">{one.url}</span> · {named(one)} · {count(one.counts.devices)} devices</small></div>
                <Badge tone={state(one).tone}>{state(one).text}</Badge>
              </li>
            ))}</ul>
          )}
        </Show>
        <More more={list.more} />
      </Card>
      {adding && <Edit close={() => setAdding(false)} saved={(one) => navigate(`/admin/integrations/${one.id}`)} />}
    </Page>
  );
}

function Edit({ one, close, saved }: { one?: Integration; close: () => void; saved: (one: Integration) => void }) {
  const [key, setKey] = useState(newKey);
  const [org, setOrg] = useState('');
  const [picked, setPicked] = useState<ReadonlySet<Dialect>>(new Set(one?.dialects ?? ['tasmota', 'zigbee2mqtt']));
  const orgs = useOrganizations();
  const toggle = (name: Dialect) => { setKey(newKey()); setPicked((now) => { const next = new Set(now); if (!next.delete(name)) next.add(name); return next; }); };
  return (
    <Dialog title={one ? 'Change the integration' : 'New integration'} close={close}>
      <Form
        submit="Save" onFields={() => setKey(newKey())}
        send={async ({ name = '', url = '', username, password, topics, time_zone: zone }) => {
          const body = {
            name, url, username: username || null, dialects: [...picked], time_zone: zone || null,
            topics: picked.has('json') ? (topics ?? '').split('\n').map((line) => line.trim()).filter(Boolean) : null,
            ...((password || !one) && { password: password || null }),
          };
          saved(one ? await api.updateIntegration(one.id, body) : await api.createIntegration({ ...body, ...(org && { organization_id: org }) }, { idempotencyKey: key }));
        }}
      >
        {(problem) => (
          <>
            <Field label="Name" name="name" required autofocus maxLength={100} defaultValue={one?.name ?? ''} autocomplete="off" error={problem?.fields.name} />
            <Field label="Broker" name="url" required placeholder="mqtt://broker.lan:1883" defaultValue={one?.url ?? ''} autocomplete="off" error={problem?.fields.url} />
            <div class="pairs">
              <Field label="User name" name="username" maxLength={1024} defaultValue={one?.username ?? ''} autocomplete="off" error={problem?.fields.username} />
              <Field label="Password" name="password" type="password" maxLength={1024} placeholder={one?.has_password ? 'as it is' : ''} autocomplete="new-password" error={problem?.fields.password} />
            </div>
            <fieldset><legend>Devices speak</legend><div class="pairs">{dialects.map(([id, text]) => <Check key={id} label={text} checked={picked.has(id)} onChange={() => toggle(id)} />)}</div></fieldset>
            {picked.has('json') && <TextArea label="Topics, one a line" name="topics" rows={2} defaultValue={one?.topics.join('\n') || 'site/{device}/{event}'} error={problem?.fields.topics} />}
            <Field label="Time zone of times without one" name="time_zone" maxLength={64} placeholder="UTC" defaultValue={one?.time_zone ?? Intl.DateTimeFormat().resolvedOptions().timeZone} autocomplete="off" error={problem?.fields.time_zone} />
            {!one && orgs.length > 0 && <Select label="Devices belong to" value={org} onPick={setOrg} options={[['', 'You'], ...orgs.map((each) => [each.id, each.name] as const)]} />}
          </>
        )}
      </Form>
    </Dialog>
  );
}

export function OneIntegration({ params: { id = '' } }: ViewProps) {
  const loaded = useGet((api) => api.getIntegration(id));
  const [work, setWork] = useState<'edit' | 'delete' | null>(null);
  const turn = useAction(async () => { const now = await api.updateIntegration(id, { enabled: !loaded.data?.enabled }); loaded.set(() => now); });
  const one = loaded.data;
  useAgain(one?.enabled ?? false, loaded.reload);
  return (
    <Page
      title={one?.name ?? 'Integration'} back={{ href: '/admin/integrations', text: 'Integrations' }} lead={one && <><Badge tone={state(one).tone}>{state(one).text}</Badge><span class="mono">{one.url}</span></>}
      actions={one && <><Button icon="edit" onClick={() => setWork('edit')}>Change</Button><Button busy={turn.busy} onClick={() => turn.run()}>{one.enabled ? 'Turn off' : 'Turn on'}</Button></>}
    >
      <Wrong problem={turn.problem} />
      <Show from={loaded}>
        {(data) => (
          <>
            <Card title="Traffic">
              <Facts facts={[
                ['Devices', count(data.counts.devices)], ['Messages', count(data.counts.messages)], ['Readings', count(data.counts.readings)],
                ['Refused', count(data.counts.refused)],
                ['Latest failure', data.last_error ? <>{data.last_error.message} {data.last_error.topic && <span class="mono">{data.last_error.topic}</span>} <Ago at={data.last_error.at} /></> : 'none'],
              ]} />
            </Card>
            <Card title="About" actions={<Button look="bad" icon="trash" onClick={() => setWork('delete')}>Delete</Button>}>
              <Facts facts={[
                ['Devices speak', named(data)], ...(data.topics.length > 0 ? [['Topics', <span class="mono">{data.topics.join(' ')}</span>] as const] : []),
                ['User name', data.username ?? 'none'], ['Password', data.has_password ? 'set' : 'none'], ['Time zone', data.time_zone], ['Made', when(data.created_at)],
              ]} />
            </Card>
            {work === 'edit' && <Edit one={data} close={() => setWork(null)} saved={(now) => { loaded.set(() => now); setWork(null); }} />}
            {work === 'delete' && <Confirm title={`Delete ${data.name}?`} button="Delete" text="Its devices and their readings stay. The broker is left alone." close={() => setWork(null)} act={async () => { await api.deleteIntegration(id); navigate('/admin/integrations', { replace: true }); }} />}
          </>
        )}
      </Show>
    </Page>
  );
}
