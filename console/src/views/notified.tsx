// What the user is notified of, when, and by which channels.
import { useState } from 'preact/hooks';
import { api, newKey } from '../api';
import { words } from '../format';
import { useGet, useList, type Loaded } from '../load';
import { user } from '../session';
import type { Attempt, Channel, Delivery, NotificationSettings, NotificationType, Severity } from '../types';
import { Badge, Button, Card, Check, Code, Confirm, Dialog, Empty, Field, Form, More, Select, Show, useAction, Wrong, type Tone } from '../ui/kit';

const types: Record<string, string> = {
  alarm: 'An alarm is raised or cleared', device_offline: 'A device goes offline', device_online: 'A device comes online',
  export_ready: 'An export is ready', export_failed: 'An export failed', webhook_disabled: 'A webhook or channel was disabled',
  new_sign_in: 'A new sign-in', refresh_reused: 'A session was ended for safety', password_changed: 'Your password changed',
  email_changed: 'Your e-mail changed', account_locked: 'Your account was locked',
};

const named = Object.entries(types) as [NotificationType, string][];

const pauses = [['0', 'None: each at once'], ['5', '5 minutes'], ['15', '15 minutes'], ['30', '30 minutes'], ['60', '1 hour'], ['240', '4 hours'], ['1440', '1 day']] as const;

// Pause picks the least pause between two messages; one that was set otherwise is kept.
function Pause({ label, value, onPick, hint }: { label: string; value: number; onPick: (minutes: number) => void; hint?: string }) {
  const now = String(value);
  const options = pauses.some(([key]) => key === now) ? pauses : [...pauses, [now, `${now} minutes`] as const];
  return <Select label={label} value={now} onPick={(v) => onPick(Number(v))} options={options} {...(hint && { hint })} />;
}

export function Notified() {
  const settings = useGet((api) => api.getNotificationSettings());
  const save = useAction(async (next: NotificationSettings) => {
    settings.set(() => next);
    const saved = await api.setNotificationSettings(next);
    settings.set(() => saved);
  });
  return (
    <>
      <Channels />
      <Card title="What you are notified of" flush>
        <Wrong problem={save.problem} />
        <Show from={settings}>{(data) => <Types data={data} save={save.run} />}</Show>
      </Card>
      <Card title="When">
        <Show from={settings}>{(data) => <Times data={data} save={save.run} />}</Show>
      </Card>
    </>
  );
}

type Part = { data: NotificationSettings; save: (next: NotificationSettings) => void };

function Types({ data, save }: Part) {
  const change = (type: string, way: keyof Delivery, on: boolean) => {
    const before = data.types[type] ?? { in_app: false, email: false };
    save({ ...data, types: { ...data.types, [type]: { ...before, [way]: on } } });
  };
  return (
    <table class="table">
      <thead><tr><th scope="col">Event</th><th scope="col" class="right">Here</th><th scope="col" class="right">E-mail</th></tr></thead>
      <tbody>
        {Object.entries(data.types).map(([type, way]) => (
          <tr key={type}>
            <td>{types[type] ?? words(type)}</td>
            <td class="right"><input type="checkbox" aria-label={`${types[type] ?? type}: here`} checked={way.in_app} onChange={(e) => change(type, 'in_app', e.currentTarget.checked)} /></td>
            <td class="right"><input type="checkbox" aria-label={`${types[type] ?? type}: e-mail`} checked={way.email} onChange={(e) => change(type, 'email', e.currentTarget.checked)} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Times({ data, save }: Part) {
  const quiet = data.quiet_hours;
  const set = (part: 'start' | 'end', time: string) => { if (quiet && time) save({ ...data, quiet_hours: { ...quiet, [part]: time } }); };
  return (
    <div class="form">
      <Pause label="Pause between two e-mails" value={data.email_digest_minutes} onPick={(minutes) => save({ ...data, email_digest_minutes: minutes })} hint="What comes meanwhile is one e-mail" />
      <Check
        label="Quiet hours" checked={quiet !== null} onChange={(e) => save({ ...data, quiet_hours: e.currentTarget.checked ? { start: '22:00', end: '07:00' } : null })}
        hint={`No e-mails and messages but critical alarms and warnings about your account; by the clock of ${(user.value?.time_zone ?? 'UTC').replaceAll('_', ' ')}`}
      />
      {quiet && (
        <div class="pairs">
          <Field label="From" type="time" required value={quiet.start} onChange={(e) => set('start', e.currentTarget.value)} />
          <Field label="To" type="time" required value={quiet.end} onChange={(e) => set('end', e.currentTarget.value)} />
        </div>
      )}
    </div>
  );
}

const kinds = [['ntfy', 'ntfy (phone)'], ['slack', 'Slack, Mattermost, Discord'], ['teams', 'Microsoft Teams'], ['webhook', 'Webhook']] as const;
const examples = { ntfy: 'https://ntfy.sh/my-topic', slack: 'https://hooks.slack.com/services/…', teams: 'https://….logic.azure.com/…', webhook: 'https://example.com/hook' };

function state(one: Channel): { text: string; tone: Tone } {
  if (!one.enabled) return { text: one.disabled_reason ? `disabled: ${one.disabled_reason}` : 'off', tone: one.disabled_reason ? 'bad' : 'soft' };
  return one.failing_since ? { text: 'failing', tone: 'warn' } : { text: 'on', tone: 'good' };
}

function Channels() {
  const list = useList((api) => api.listNotificationChannels({ limit: 100 }));
  const [shown, setShown] = useState<Channel | 'new' | null>(null);
  const [gone, setGone] = useState<Channel | null>(null);
  const [secret, setSecret] = useState<string | null>(null);
  return (
    <Card title="Channels" flush actions={<Button icon="plus" onClick={() => setShown('new')}>New channel</Button>}>
      <Show from={list as Loaded<Channel[]>}>
        {(all) => all.length === 0 ? <Empty icon="send" title="No channels">Your phone by ntfy, a chat by Slack or Teams, or a program by a webhook.</Empty> : (
          <ul class="rows">{all.map((one) => <Row key={one.id} one={one} edit={() => setShown(one)} tested={list.reload} />)}</ul>
        )}
      </Show>
      <More more={list.more} />
      {shown && (
        <Edit
          channel={shown === 'new' ? undefined : shown} close={() => setShown(null)} remove={(one) => { setShown(null); setGone(one); }}
          saved={(_, key) => { setShown(null); setSecret(key); list.reload(); }}
        />
      )}
      {gone && <Confirm title={`Delete ${gone.name}?`} button="Delete" text="What waits for it goes with it." close={() => setGone(null)} act={async () => { await api.deleteNotificationChannel(gone.id); setGone(null); list.reload(); }} />}
      {secret && <Dialog title="The secret of the webhook" close={() => setSecret(null)}><p>Your receiver checks signatures with it. It is shown only now.</p><Code label="Secret" text={secret} /></Dialog>}
    </Card>
  );
}

function Row({ one, edit, tested }: { one: Channel; edit: () => void; tested: () => void }) {
  const [answer, setAnswer] = useState<Attempt | null>(null);
  const test = useAction(async () => { setAnswer(await api.testNotificationChannel(one.id)); tested(); });
  return (
    <li>
      <div>
        <span class="strong">{one.name}</span>
        <small>{kinds.find(([kind]) => kind === one.kind)?.[1]} · <span class="mono">{one.address}</span></small>
        {one.last_error && !answer && <small class="bad">{one.last_error}</small>}
        <small role="status" class={answer?.error ? 'bad' : undefined}>{answer && `${answer.error ?? `The receiver accepted the test (${answer.status ?? ''})`}${answer.answer ? `: ${answer.answer}` : ''}`}</small>
        <Wrong problem={test.problem} />
      </div>
      <Badge tone={state(one).tone}>{state(one).text}</Badge>
      <div class="form-foot">
        <Button icon="send" busy={test.busy} onClick={() => test.run()} aria-label={`Test ${one.name}`}>Test</Button>
        <Button icon="edit" onClick={edit} aria-label={`Change ${one.name}`}>Change</Button>
      </div>
    </li>
  );
}

function Edit({ channel, close, saved, remove }: {
  channel: Channel | undefined; close: () => void; saved: (now: Channel, secret: string | null) => void; remove: (one: Channel) => void;
}) {
  const [key, setKey] = useState(newKey);
  const [kind, setKind] = useState<Channel['kind']>(channel?.kind ?? 'ntfy');
  const [severity, setSeverity] = useState<Severity | ''>(channel?.min_severity ?? '');
  const [pause, setPause] = useState(channel?.digest_minutes ?? 0);
  const [on, setOn] = useState(channel?.enabled ?? true);
  const [picked, setPicked] = useState<ReadonlySet<NotificationType>>(new Set(channel?.types ?? ['alarm', 'device_offline', 'device_online', 'export_failed', 'webhook_disabled']));
  const changed = <T,>(set: (value: T) => void) => (value: T) => { setKey(newKey()); set(value); };
  const toggle = (type: NotificationType) => { setKey(newKey()); setPicked((now) => { const next = new Set(now); if (!next.delete(type)) next.add(type); return next; }); };
  return (
    <Dialog title={channel ? 'Change the channel' : 'New channel'} close={close}>
      <Form
        submit="Save" onFields={() => setKey(newKey())}
        aside={channel && <Button look="bad" icon="trash" onClick={() => remove(channel)}>Delete</Button>}
        send={async ({ name = '', url = '', token }) => {
          const body = { name, types: [...picked], min_severity: severity || null, digest_minutes: pause, enabled: on, ...(token && { token }) };
          if (channel) saved(await api.updateNotificationChannel(channel.id, { ...body, ...(url && { url }) }), null);
          else {
            const made = await api.createNotificationChannel({ ...body, kind, url }, { idempotencyKey: key });
            saved(made, made.secret);
          }
        }}
      >
        {(problem) => (
          <>
            {!channel && <Select label="Kind" value={kind} onPick={changed((v: string) => setKind(v as Channel['kind']))} options={kinds} />}
            <Field label="Name" name="name" required autofocus maxLength={100} defaultValue={channel?.name ?? ''} autocomplete="off" error={problem?.fields.name} />
            <Field
              label="Address" name="url" type="url" required={!channel} placeholder={channel ? channel.address : examples[kind]} autocomplete="off" error={problem?.fields.url}
              hint={channel ? 'Leave it empty to keep the address' : 'Stored encrypted where the server has a key, and not shown again'}
            />
            {kind === 'ntfy' && <Field label="Access token (optional)" name="token" autocomplete="off" error={problem?.fields.token} hint={channel ? 'Another address needs it again' : undefined} />}
            <fieldset><legend>What it is sent</legend><div class="pairs">{named.map(([type, text]) => <Check key={type} label={text} checked={picked.has(type)} onChange={() => toggle(type)} />)}</div></fieldset>
            <Select label="Alarms" value={severity} onPick={changed(setSeverity)} options={[['', 'All'], ['warning', 'Warning or worse'], ['minor', 'Minor or worse'], ['major', 'Major or worse'], ['critical', 'Critical alone']]} />
            <Pause label="Pause between two messages" value={pause} onPick={changed(setPause)} hint="What comes meanwhile is one message" />
            {channel && <Check label="On" checked={on} onChange={(e) => setOn(e.currentTarget.checked)} hint="What waits for a channel that is off is dropped" />}
          </>
        )}
      </Form>
    </Dialog>
  );
}
