// The user's own account: profile, password, sessions, API keys, notifications.
import { useState } from 'preact/hooks';
import { api, newKey } from '../api';
import { useOrganizations } from '../fleet';
import { day, program, when, zone } from '../format';
import type { ViewProps } from '../lazy';
import { useGet, useList } from '../load';
import { profile, signOut, user } from '../session';
import type { APIKey, KeyScope } from '../types';
import { Ago, Badge, Button, Card, Check, Code, Confirm, Dialog, Empty, Field, Form, More, Page, Select, Show, Tabs, toast, useAction, Wrong } from '../ui/kit';
import { Notified } from './notified';

const tabs = [['', 'Profile'], ['sessions', 'Sessions'], ['api-keys', 'API keys'], ['notifications', 'Notifications']] as const;

export function Account({ params: { tab = '' } }: ViewProps) {
  return (
    <Page title="Your account" lead={user.value?.email}>
      <Tabs label="Your account" now={tab ? `/account/${tab}` : '/account'} tabs={tabs.map(([name, text]) => ({ href: name ? `/account/${name}` : '/account', text }))} />
      {tab === '' && <Profile />}
      {tab === 'sessions' && <Sessions />}
      {tab === 'api-keys' && <Keys />}
      {tab === 'notifications' && <Notified />}
    </Page>
  );
}

const zones = ['UTC', ...Intl.supportedValuesOf('timeZone').filter((name) => name !== 'UTC')];

function Profile() {
  const me = useGet((api) => api.getMe());
  const [done, setDone] = useState(0);
  const [email, setEmail] = useState<string>();
  return (
    <Show from={me} rows={6}>
      {(data) => (
        <>
          <Card title="Profile">
            <Form
              submit="Save"
              send={async ({ name, email, time_zone, current_password }) => {
                const other = email !== data.email;
                const saved = await api.updateMe({ name, time_zone, ...(other && { email, current_password }) });
                me.set(() => saved);
                profile(saved);
                toast(other ? `Saved. Follow the link that was sent to ${email}: until then your address is the one of before.` : 'Saved');
              }}
            >
              {(problem) => (
                <>
                  <div class="row">
                    <Field label="Name" name="name" required maxLength={100} defaultValue={data.name} autocomplete="name" error={problem?.fields.name} />
                    <Field label="E-mail" name="email" type="email" required defaultValue={data.email} autocomplete="email" onInput={(e: InputEvent) => setEmail((e.currentTarget as HTMLInputElement).value)} error={problem?.fields.email} />
                  </div>
                  {email !== undefined && email !== data.email && (
                    <Field label="Current password" name="current_password" type="password" autocomplete="current-password" required error={problem?.fields.current_password} />
                  )}
                  <Zone value={data.time_zone} />
                </>
              )}
            </Form>
          </Card>
          <Card title="Password">
            <Form
              submit="Change the password" key={done}
              send={async ({ current_password = '', new_password = '' }) => {
                await api.changePassword({ current_password, new_password });
                setDone((n) => n + 1);
                toast('The password is changed. Your other sessions have ended.');
              }}
            >
              {(problem) => (
                <div class="row">
                  <Field label="Current password" name="current_password" type="password" autocomplete="current-password" required error={problem?.fields.current_password} />
                  <Field label="New password" name="new_password" type="password" autocomplete="new-password" minLength={8} required hint="8 characters or more" error={problem?.fields.new_password} />
                </div>
              )}
            </Form>
          </Card>
        </>
      )}
    </Show>
  );
}

function Zone({ value: initial }: { value: string }) {
  const [picked, setPicked] = useState(initial);
  return (
    <div>
      <Select label="Time zone of days, weeks and schedules" value={picked} onPick={setPicked} options={[...new Set([initial, ...zones])].map((name) => [name, name.replaceAll('_', ' ')] as const)} hint={zone === picked ? 'The zone of this computer' : `This computer is in ${zone.replaceAll('_', ' ')}`} />
      <input type="hidden" name="time_zone" value={picked} />
    </div>
  );
}

function Sessions() {
  const list = useList((api) => api.listSessions());
  const [all, setAll] = useState(false);
  const end = useAction(async (id: string) => { await api.endSession(id); list.reload(); });
  return (
    <Card title="Where you are signed in" flush actions={<Button look="bad" onClick={() => setAll(true)}>End all of them</Button>}>
      <Wrong problem={end.problem} />
      <Show from={list}>
        {(sessions) => (
          <ul class="rows">
            {sessions.map((session) => (
              <li key={session.id}>
                <div title={session.user_agent}><span class="strong">{program(session.user_agent)}</span> {session.current && <Badge tone="good">this one</Badge>}<small>{session.ip} · last used <Ago at={session.last_used_at} /> · since {when(session.created_at)}</small></div>
                {!session.current && <Button busy={end.busy} onClick={() => end.run(session.id)}>End</Button>}
              </li>
            ))}
          </ul>
        )}
      </Show>
      {all && (
        <Confirm
          title="End every session?" button="End all" close={() => setAll(false)} text="You are signed out here too. Devices are not concerned: their tokens are their own."
          act={async () => { await api.logOutAll(); await signOut(); }}
        />
      )}
    </Card>
  );
}

const scopes: KeyScope[] = ['devices:read', 'devices:write', 'telemetry:read', 'telemetry:write', 'commands:read', 'commands:write', 'exports:read', 'exports:write', 'alarms:read', 'alarms:write'];

function Keys() {
  const list = useList((api) => api.listAPIKeys({ limit: 100 }));
  const orgs = useOrganizations();
  const [adding, setAdding] = useState(false);
  const [made, setMade] = useState<string | null>(null);
  const [ending, setEnding] = useState<APIKey | null>(null);
  return (
    <Card title="API keys" flush actions={<Button look="main" icon="plus" onClick={() => setAdding(true)}>New key</Button>}>
      <Show from={list}>
        {(keys) => keys.length === 0 ? <Empty icon="key" title="No API keys">A key lets a program call the API as you, within its scopes.</Empty> : (
          <ul class="rows">
            {keys.map((key) => (
              <li key={key.id}>
                <div>
                  <span class="strong">{key.name}</span> <code class="soft">{key.prefix}…</code>
                  <small>{key.scopes.join(', ')}{key.organization_id && ` · ${orgs.find((org) => org.id === key.organization_id)?.name ?? 'one organization'}`}</small>
                  <small>last used <Ago at={key.last_used_at} /> · {key.expires_at ? `until ${day(key.expires_at)}` : 'no end'}</small>
                </div>
                <Button look="bad" onClick={() => setEnding(key)}>Delete</Button>
              </li>
            ))}
          </ul>
        )}
      </Show>
      <More more={list.more} />
      {adding && <NewKey close={() => setAdding(false)} made={(key) => { setAdding(false); setMade(key); list.reload(); }} />}
      {made && <Dialog title="Your new key" close={() => setMade(null)}><p>It is shown only now.</p><Code label="API key" text={made} /></Dialog>}
      {ending && <Confirm title={`Delete ${ending.name}?`} button="Delete" text="Programs that use it are refused from now on." close={() => setEnding(null)} act={async () => { await api.deleteAPIKey(ending.id); list.reload(); }} />}
    </Card>
  );
}

function NewKey({ close, made }: { close: () => void; made: (key: string) => void }) {
  const [key, setKey] = useState(newKey);
  const [org, setOrg] = useState('');
  const [picked, setPicked] = useState<ReadonlySet<KeyScope>>(new Set(['devices:read', 'telemetry:read']));
  const orgs = useOrganizations();
  const toggle = (scope: KeyScope) => setPicked((now) => { const next = new Set(now); if (!next.delete(scope)) next.add(scope); return next; });
  return (
    <Dialog title="New API key" close={close}>
      <Form
        submit="Make the key" onFields={() => setKey(newKey())}
        send={async ({ name = '', expires }) => {
          const answer = await api.createAPIKey({
            name, scopes: [...picked], ...(org && { organization_id: org }), ...(expires && { expires_at: new Date(expires + 'T23:59:59').toISOString() }),
          }, { idempotencyKey: key });
          made(answer.key);
        }}
      >
        {(problem) => (
          <>
            <Field label="Name" name="name" required maxLength={100} autofocus autocomplete="off" placeholder="Nightly report" error={problem?.fields.name} />
            <fieldset><legend>What it may do</legend><div class="pairs">{scopes.map((scope) => <Check key={scope} label={scope} checked={picked.has(scope)} onChange={() => toggle(scope)} />)}</div></fieldset>
            {orgs.length > 0 && <Select label="Where" value={org} onPick={setOrg} options={[['', 'Everything of yours'], ...orgs.map((one) => [one.id, one.name] as const)]} />}
            <Field label="Until (optional)" name="expires" type="date" error={problem?.fields.expires_at} />
          </>
        )}
      </Form>
    </Dialog>
  );
}
