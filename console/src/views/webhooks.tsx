// Webhooks: what hearth calls when something happens, and what became of each call.
import { useState } from 'preact/hooks';
import { api, newKey } from '../api';
import { useOrganizations } from '../fleet';
import { exactly, when } from '../format';
import type { ViewProps } from '../lazy';
import { useAgain, useGet, useList } from '../load';
import { navigate, query, setQuery } from '../router';
import type { Webhook, WebhookDelivery } from '../types';
import { Ago, Badge, Button, Card, Check, Code, Confirm, Dialog, Empty, Facts, Field, Form, More, Page, Select, Show, toast, useAction, Wrong, type Tone } from '../ui/kit';

const events: Webhook['events'] = ['alarm.raised', 'alarm.cleared', 'device.created', 'device.deleted', 'device.online', 'device.offline', 'command.ended', 'export.completed'];

function state(hook: Webhook): { text: string; tone: Tone } {
  if (!hook.enabled) return { text: hook.disabled_reason ? `disabled: ${hook.disabled_reason}` : 'off', tone: hook.disabled_reason ? 'bad' : 'soft' };
  return hook.failing_since ? { text: 'failing', tone: 'warn' } : { text: 'on', tone: 'good' };
}

export function Webhooks() {
  const list = useList((api) => api.listWebhooks({ limit: 100 }));
  const [adding, setAdding] = useState(false);
  const [secret, setSecret] = useState<string | null>(null);
  return (
    <Page title="Webhooks" lead="Your own services are called when something happens" actions={<Button look="main" icon="plus" onClick={() => setAdding(true)}>New webhook</Button>}>
      <Card flush>
        <Show from={list}>
          {(hooks) => hooks.length === 0 ? <Empty icon="hook" title="No webhooks">Events of devices, alarms, commands and exports, sent as the Standard Webhooks specification says.</Empty> : (
            <ul class="rows">{hooks.map((hook) => <li key={hook.id}><div><a href={`/webhooks/${hook.id}`}>{hook.name}</a><small class="mono">{hook.url}</small></div><Badge tone={state(hook).tone}>{state(hook).text}</Badge></li>)}</ul>
          )}
        </Show>
        <More more={list.more} />
      </Card>
      {adding && <Edit close={() => setAdding(false)} made={(shown) => { setAdding(false); setSecret(shown); list.reload(); }} />}
      {secret && <Secret secret={secret} close={() => setSecret(null)} />}
    </Page>
  );
}

function Secret({ secret, close }: { secret: string; close: () => void }) {
  return <Dialog title="The secret of the webhook" close={close}><p>Your receiver checks signatures with it. It is shown only now.</p><Code label="Secret" text={secret} /></Dialog>;
}

function Edit({ hook, close, made, saved }: { hook?: Webhook; close: () => void; made?: (secret: string) => void; saved?: (hook: Webhook) => void }) {
  const [key, setKey] = useState(newKey);
  const [org, setOrg] = useState('');
  const [picked, setPicked] = useState<ReadonlySet<Webhook['events'][number]>>(new Set(hook?.events ?? ['alarm.raised', 'alarm.cleared']));
  const orgs = useOrganizations().filter(({ role }) => role === 'owner' || role === 'admin');
  const toggle = (event: Webhook['events'][number]) => { setKey(newKey()); setPicked((now) => { const next = new Set(now); if (!next.delete(event)) next.add(event); return next; }); };
  return (
    <Dialog title={hook ? 'Change the webhook' : 'New webhook'} close={close}>
      <Form
        submit="Save" onFields={() => setKey(newKey())}
        send={async ({ name = '', url = '' }) => {
          const body = { name, url, events: [...picked] };
          if (hook) saved?.(await api.updateWebhook(hook.id, body));
          else made?.((await api.createWebhook({ ...body, ...(org && { organization_id: org }) }, { idempotencyKey: key })).secret);
        }}
      >
        {(problem) => (
          <>
            <Field label="Name" name="name" required autofocus maxLength={100} defaultValue={hook?.name ?? ''} autocomplete="off" error={problem?.fields.name} />
            <Field label="Address" name="url" type="url" required placeholder="https://example.com/hooks/hearth" defaultValue={hook?.url ?? ''} autocomplete="off" error={problem?.fields.url} />
            <fieldset><legend>Events</legend><div class="pairs">{events.map((event) => <Check key={event} label={event} checked={picked.has(event)} onChange={() => toggle(event)} />)}</div></fieldset>
            {!hook && orgs.length > 0 && <Select label="Of" value={org} onPick={setOrg} options={[['', 'Your own devices'], ...orgs.map((one) => [one.id, one.name] as const)]} />}
          </>
        )}
      </Form>
    </Dialog>
  );
}

const tones: Record<WebhookDelivery['state'], Tone> = { pending: 'info', succeeded: 'good', failed: 'bad' };

export function OneWebhook({ params: { id = '' } }: ViewProps) {
  const loaded = useGet((api) => api.getWebhook(id));
  const only = query.value.get('state') ?? '';
  const list = useList((api) => api.listWebhookDeliveries(id, { state: only as WebhookDelivery['state'], limit: 50 }));
  const [work, setWork] = useState<'edit' | 'delete' | null>(null);
  const [secret, setSecret] = useState<string | null>(null);
  const [shown, setShown] = useState<WebhookDelivery | null>(null);
  // Loading again begins with the first page: a user who has scrolled further is left there.
  useAgain(list.data !== undefined && list.data.length <= 50 && list.data.some((one) => one.state === 'pending'), list.reload);
  const act = useAction(async (what: 'test' | 'rotate' | 'turn') => {
    if (what === 'test') { await api.testWebhook(id); toast('A test event is on its way'); list.reload(); }
    if (what === 'rotate') setSecret((await api.rotateWebhookSecret(id)).secret);
    if (what === 'turn') { const now = await api.updateWebhook(id, { enabled: !loaded.data?.enabled }); loaded.set(() => now); }
  });
  const again = useAction(async (one: WebhookDelivery) => { await api.retryWebhookDelivery(id, one.id); setShown(null); list.reload(); });
  const hook = loaded.data;
  return (
    <Page
      title={hook?.name ?? 'Webhook'} back={{ href: '/webhooks', text: 'Webhooks' }} lead={hook && <><Badge tone={state(hook).tone}>{state(hook).text}</Badge><span class="mono">{hook.url}</span></>}
      actions={hook && <><Button icon="send" busy={act.busy} onClick={() => act.run('test')}>Send a test</Button><Button icon="edit" onClick={() => setWork('edit')}>Change</Button><Button busy={act.busy} onClick={() => act.run('turn')}>{hook.enabled ? 'Turn off' : 'Turn on'}</Button></>}
    >
      <Wrong problem={act.problem} />
      <Show from={loaded}>
        {(data) => (
          <>
            <Card title="About" actions={<><Button icon="key" busy={act.busy} onClick={() => act.run('rotate')}>New secret</Button><Button look="bad" icon="trash" onClick={() => setWork('delete')}>Delete</Button></>}>
              <Facts facts={[['Events', data.events.join(', ') || 'only those that rules send'], ['Made', when(data.created_at)], ['Failing since', data.failing_since ? when(data.failing_since) : 'not failing'], ...(data.old_secret_until ? [['The old secret signs until', when(data.old_secret_until)] as const] : [])]} />
            </Card>
            <Card title="Deliveries" flush actions={<><Select hidden label="State" value={only} onPick={(v) => setQuery({ state: v })} options={[['', 'All'], ['pending', 'Pending'], ['succeeded', 'Succeeded'], ['failed', 'Failed']]} /><Button icon="refresh" onClick={list.reload}>Refresh</Button></>}>
              <Show from={list}>
                {(deliveries) => deliveries.length === 0 ? <Empty icon="send" title="No deliveries">Send a test to see one.</Empty> : (
                  <ul class="rows">
                    {deliveries.map((one) => (
                      <li key={one.id}>
                        <div><span class="mono strong">{one.event}</span><small><Ago at={one.created_at} /> · {one.attempts.length === 1 ? '1 attempt' : `${one.attempts.length} attempts`}{one.next_attempt_at && <> · next <Ago at={one.next_attempt_at} /></>}</small></div>
                        <Badge tone={tones[one.state]}>{one.state}</Badge>
                        <Button onClick={() => setShown(one)}>Details</Button>
                      </li>
                    ))}
                  </ul>
                )}
              </Show>
              <More more={list.more} />
            </Card>
            {work === 'edit' && <Edit hook={data} close={() => setWork(null)} saved={(now) => { loaded.set(() => now); setWork(null); }} />}
            {work === 'delete' && <Confirm title={`Delete ${data.name}?`} button="Delete" text="Its deliveries go with it." close={() => setWork(null)} act={async () => { await api.deleteWebhook(id); navigate('/webhooks', { replace: true }); }} />}
          </>
        )}
      </Show>
      {secret && <Secret secret={secret} close={() => setSecret(null)} />}
      {shown && (
        <Dialog title={shown.event} close={() => setShown(null)} wide>
          <ul class="rows">{shown.attempts.map((one) => <li key={one.at}><div>{exactly(one.at)}<small class={one.error ? 'bad' : ''}>{one.error ?? one.answer ?? ''}</small></div><span class="soft">{one.status ?? 'no answer'} in {one.duration_ms} ms</span></li>)}</ul>
          <pre class="json" tabIndex={0} aria-label="Body">{JSON.stringify(shown.payload, null, 2)}</pre>
          <Wrong problem={again.problem} />
          <div class="form-foot"><Button icon="refresh" busy={again.busy} onClick={() => again.run(shown)}>Send again</Button></div>
        </Dialog>
      )}
    </Page>
  );
}
