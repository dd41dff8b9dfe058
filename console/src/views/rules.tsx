// Rules: what raises an alarm, on which devices, and what happens then; tried on stored readings before anyone relies on them.
import { useEffect, useState } from 'preact/hooks';
import { api, newKey, Problem } from '../api';
import { useOrganizations } from '../fleet';
import { count, duration, exactly, value, words, zone } from '../format';
import type { ViewProps } from '../lazy';
import { useGet, useList } from '../load';
import { leaving, navigate, query } from '../router';
import type { Condition, Episode, Rule, RuleAction, RuleSchedule, Severity } from '../types';
import type { Value, Webhook } from '../types';
import { Badge, Button, Card, Check, Choice, Confirm, Empty, Field, LinkButton, More, Page, Scroll, Select, Show, Skeleton, Wrong, toast, useAction } from '../ui/kit';
import { PickDevices, useNames } from '../ui/pick';
import { AlarmList, severities, severityTones } from './alarms';

type Operator = NonNullable<Condition['operator']>;
const operators = [['gt', 'is above'], ['gte', 'is at least'], ['lt', 'is below'], ['lte', 'is at most'], ['eq', 'is'], ['ne', 'is not']] as const;
const days = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;

// sentence says a condition as a user would.
function sentence({ event, operator, value: v, expression, for: hold, offline_for: offline, no_data: data }: Condition): string {
  if (offline) return `no sign of life for ${duration(offline)}`;
  if (data) return `no ${data.event ?? 'data'} for ${duration(data.for)}`;
  const lasting = hold ? ` for ${duration(hold)}` : '';
  if (expression) return expression + lasting;
  return `${event ?? ''} ${operators.find(([name]) => name === operator)?.[1] ?? ''} ${value(v)}${lasting}`;
}

function where({ devices }: Rule): string {
  const parts = [devices.ids && `${count(devices.ids.length)} chosen`, devices.type && `type ${devices.type}`, devices.tag && `tag ${devices.tag}`].filter(Boolean);
  return parts.length ? parts.join(', ') : 'all devices';
}

export function Rules() {
  const list = useList((api) => api.listRules({ limit: 100 }));
  const orgs = useOrganizations();
  return (
    <Page title="Rules" back={{ href: '/alarms', text: 'Alarms' }} actions={<LinkButton look="main" icon="plus" href="/rules/new">New rule</LinkButton>}>
      <Card flush>
        <Show from={list}>
          {(rules) => rules.length === 0 ? <Empty icon="rule" title="No rules yet" action={<LinkButton look="main" icon="plus" href="/rules/new">New rule</LinkButton>}>Such as: temperature is above 8 for 5 min on devices with the tag fridge.</Empty> : (
            <ul class="rows">
              {rules.map((rule) => (
                <li key={rule.id}>
                  <div><a href={`/rules/${rule.id}`}>{rule.name}</a><small>{sentence(rule.condition)} · {where(rule)}{rule.organization_id && ` · ${orgs.find((org) => org.id === rule.organization_id)?.name ?? ''}`}</small></div>
                  {!rule.enabled && <Badge>off</Badge>}<Badge tone={severityTones[rule.severity]}>{rule.severity}</Badge>
                </li>
              ))}
            </ul>
          )}
        </Show>
        <More more={list.more} />
      </Card>
    </Page>
  );
}

export function OneRule({ params: { id = '' } }: ViewProps) {
  const fresh = id === 'new';
  const loaded = useGet(fresh ? null : (api) => api.getRule(id));
  const [sure, setSure] = useState(false);
  const rule = loaded.data;
  return (
    <Page
      title={fresh ? 'New rule' : rule?.name ?? 'Rule'} back={{ href: '/rules', text: 'Rules' }}
      lead={rule && <><Badge tone={rule.enabled ? 'good' : 'soft'}>{rule.enabled ? 'on' : 'off'}</Badge><span>{sentence(rule.condition)}</span></>}
      actions={rule && <Button look="bad" icon="trash" onClick={() => setSure(true)}>Delete</Button>}
    >
      {fresh ? <Editor saved={(now) => { toast('The rule judges from the next reading on'); navigate(`/rules/${now.id}`, { replace: true }); }} /> : (
        <Show from={loaded}>
          {(data) => (
            <>
              <Editor key={data.version} rule={data} saved={(now) => { loaded.set(() => now); toast('Saved'); }} />
              {!data.condition.offline_for && <Preview rule={data} />}
              <h2>Its alarms</h2>
              <AlarmList query={{ rule_id: data.id, sort: '-raised_at' }} none="It has raised none" />
            </>
          )}
        </Show>
      )}
      {sure && rule && <Confirm title={`Delete ${rule.name}?`} button="Delete" text="Its active alarms are cleared; they stay in the list." close={() => setSure(false)} act={async () => { leaving.ask = null; await api.deleteRule(id); navigate('/rules', { replace: true }); }} />}
    </Page>
  );
}

// What the form holds; texts until they are sent.
interface Draft {
  name: string; kind: string; event: string; operator: Operator; value: string; hold: string; clear: string; expression: string;
  ids: string[]; type: string; tag: string; severity: Severity; org: string; enabled: boolean; scheduled: boolean; schedule: RuleSchedule; actions: RuleAction[];
}

function draftOf(rule?: Rule): Draft {
  const c = rule?.condition;
  return {
    name: rule?.name ?? '', kind: c?.expression ? 'expression' : c?.offline_for ? 'offline' : c?.no_data ? 'data' : 'value',
    event: c?.event ?? c?.no_data?.event ?? '', operator: c?.operator ?? 'gt', value: c?.value === undefined ? '' : String(c.value),
    hold: String((c?.for ?? c?.offline_for ?? c?.no_data?.for ?? (rule ? 0 : 60)) / 60), clear: c?.clear?.value === undefined ? '' : String(c.clear.value), expression: c?.expression ?? '',
    ids: rule?.devices.ids ?? (query.value.get('device') ?? '').split(',').filter(Boolean),
    type: rule?.devices.type ?? '', tag: rule?.devices.tag ?? '', severity: rule?.severity ?? 'warning', org: rule?.organization_id ?? '',
    enabled: rule?.enabled ?? true, scheduled: rule?.schedule != null, schedule: rule?.schedule ?? { tz: zone, days: [...days], start: '08:00', end: '18:00' },
    actions: rule?.actions ?? [{ notify: 'owner', on: 'raise' }],
  };
}

// typed reads a value as a device would send it.
function typed(text: string): Value {
  const t = text.trim();
  if (t === 'true' || t === 'on') return true;
  if (t === 'false' || t === 'off') return false;
  return t !== '' && Number.isFinite(Number(t)) ? Number(t) : t;
}

function conditionOf(d: Draft, before?: Condition): Condition {
  const seconds = Math.round(Number(d.hold) * 60);
  const hold = seconds ? { for: seconds } : {};
  if (d.kind === 'offline') return { offline_for: seconds };
  if (d.kind === 'data') return { no_data: { for: seconds, ...(d.event && { event: d.event }) } };
  if (d.kind === 'expression') return { expression: d.expression, ...hold, ...(before?.clear && { clear: before.clear }) };
  const clear = { ...before?.clear, value: d.clear.trim() ? typed(d.clear) : undefined };
  return { event: d.event, operator: d.operator, value: typed(d.value), ...hold, ...((clear.value !== undefined || clear.for) && { clear }) };
}

function Editor({ rule, saved }: { rule?: Rule; saved: (rule: Rule) => void }) {
  const [draft, setDraft] = useState(() => draftOf(rule));
  const [picking, setPicking] = useState(draft.ids.length > 0);
  const [touched, setTouched] = useState(false);
  const [key, setKey] = useState(newKey);
  const orgs = useOrganizations().filter((org) => org.role !== 'viewer');
  const events = useGet((call) => call.events({ range: '30d' })).data?.events ?? [];
  const set = (change: Partial<Draft>) => { setDraft((now) => ({ ...now, ...change })); setTouched(true); setKey(newKey()); };
  useEffect(() => {
    leaving.ask = touched ? () => confirm('Leave without saving the rule?') : null;
    return () => { leaving.ask = null; };
  }, [touched]);
  const save = useAction(async () => {
    if (draft.actions.some((action) => action.webhook_id === '')) throw new Problem(-1, 'Choose the webhook to call');
    if (picking && draft.ids.length === 0) throw new Problem(-1, 'Choose a device');
    if (draft.kind === 'value' && !draft.value.trim()) throw new Problem(-1, 'Enter the value to compare with', { value: 'Enter a value' });
    const body = {
      name: draft.name, severity: draft.severity, enabled: draft.enabled, condition: conditionOf(draft, rule?.condition), actions: draft.actions,
      devices: { ...(draft.ids.length && { ids: draft.ids }), ...(draft.type && { type: draft.type }), ...(draft.tag && { tag: draft.tag }) },
      schedule: draft.scheduled ? draft.schedule : null,
    };
    const now = rule ? await api.updateRule(rule.id, body) : await api.createRule({ ...body, ...(draft.org && { organization_id: draft.org }) }, { idempotencyKey: key });
    leaving.ask = null;
    setTouched(false);
    saved(now);
  });
  const fields = save.problem?.fields ?? {};
  const { kind } = draft;
  return (
    <Card>
      <form class="form" onSubmit={(e) => { e.preventDefault(); save.run(); }}>
        <div class="row">
          <Field label="Name" required maxLength={200} value={draft.name} onInput={(e) => set({ name: e.currentTarget.value })} placeholder="Freezer too warm" autocomplete="off" error={fields.name} />
          <Select label="Severity" value={draft.severity} onPick={(to) => set({ severity: to as Severity })} options={severities.map((one) => [one, words(one)] as const)} />
        </div>
        <fieldset>
          <legend>When</legend>
          <Choice label="When" value={kind} onPick={(to) => set({ kind: to })} options={[['value', 'Value'], ['expression', 'Expression'], ['data', 'No data'], ['offline', 'Offline']]} />
          {kind === 'expression' && <Field label="Expression" required maxLength={1000} class="mono" value={draft.expression} onInput={(e) => set({ expression: e.currentTarget.value })} placeholder="temperature > 30 && door == false" autocomplete="off" hint="Over the latest values: comparisons, && || !, arithmetic, abs, min, max" error={fields['condition.expression']} />}
          <datalist id="known-events">{events.map(({ event }) => <option key={event} value={event} />)}</datalist>
          <div class="row">
            {kind === 'value' && <Field label="Event" required maxLength={64} value={draft.event} onInput={(e) => set({ event: e.currentTarget.value })} placeholder="temperature" autocomplete="off" list="known-events" error={fields['condition.event']} />}
            {kind === 'data' && <Field label="Event (empty: any)" maxLength={64} value={draft.event} onInput={(e) => set({ event: e.currentTarget.value })} placeholder="temperature" autocomplete="off" list="known-events" error={fields['condition.no_data.event']} />}
            {kind === 'value' && <Select label="Compared" value={draft.operator} onPick={(to) => set({ operator: to })} options={operators} />}
            {kind === 'value' && <Field label="Value" value={draft.value} onInput={(e) => set({ value: e.currentTarget.value })} placeholder="8" autocomplete="off" error={fields['condition.value'] ?? fields.value} />}
            <Field label="For minutes" type="number" min={0} step="any" required value={draft.hold} onInput={(e) => set({ hold: e.currentTarget.value })} error={fields['condition.for'] ?? fields['condition.offline_for'] ?? fields['condition.no_data.for']} hint={kind === 'offline' ? 'Without a heartbeat, a log or a message over MQTT' : undefined} />
            {kind === 'value' && draft.operator !== 'eq' && draft.operator !== 'ne' && <Field label="Clear at (optional)" value={draft.clear} onInput={(e) => set({ clear: e.currentTarget.value })} placeholder={draft.value} autocomplete="off" error={fields['condition.clear.value']} />}
          </div>
        </fieldset>
        <fieldset>
          <legend>On which devices</legend>
          <div class="row">
            <Field label="Type (empty: any)" maxLength={64} value={draft.type} onInput={(e) => set({ type: e.currentTarget.value })} autocomplete="off" error={fields['devices.type']} />
            <Field label="Tag (empty: any)" maxLength={64} value={draft.tag} onInput={(e) => set({ tag: e.currentTarget.value })} autocomplete="off" error={fields['devices.tag']} />
            {!rule && orgs.length > 0 && <Select label="Of" value={draft.org} onPick={(to) => set({ org: to })} options={[['', 'You'], ...orgs.map((org) => [org.id, org.name] as const)]} />}
          </div>
          <Check label="Only chosen devices" checked={picking} onChange={(e) => { setPicking(e.currentTarget.checked); if (!e.currentTarget.checked) set({ ids: [] }); }} />
          {picking && <PickDevices ids={draft.ids} change={(ids) => set({ ids })} most={1000} />}
          {fields['devices.ids'] && <small class="bad">{fields['devices.ids']}</small>}
        </fieldset>
        <Actions actions={draft.actions} org={draft.org} change={(actions) => set({ actions })} />
        <fieldset>
          <legend>Hours</legend>
          <Check label="Only at certain times" checked={draft.scheduled} onChange={(e) => set({ scheduled: e.currentTarget.checked })} />
          {draft.scheduled && <Hours schedule={draft.schedule} change={(schedule) => set({ schedule })} />}
        </fieldset>
        <Check label="On" checked={draft.enabled} onChange={(e) => set({ enabled: e.currentTarget.checked })} />
        {rule && touched && <p class="soft small">A change clears the rule’s active alarms.</p>}
        <Wrong problem={save.problem} />
        <div class="form-foot"><Button type="submit" look="main" busy={save.busy} disabled={rule && !touched}>Save</Button></div>
      </form>
    </Card>
  );
}

function Hours({ schedule, change }: { schedule: RuleSchedule; change: (schedule: RuleSchedule) => void }) {
  const toggle = (day: string) => change({ ...schedule, days: days.filter((one) => (one === day ? !schedule.days.includes(day) : schedule.days.includes(one))) });
  return (
    <>
      <div class="events" role="group" aria-label="Days">{days.map((day) => <button type="button" class="event" key={day} aria-pressed={schedule.days.includes(day)} onClick={() => toggle(day)}>{words(day)}</button>)}</div>
      <div class="row">
        <Field label="From" type="time" required value={schedule.start} onInput={(e) => change({ ...schedule, start: e.currentTarget.value })} />
        <Field label="To" type="time" required value={schedule.end} onInput={(e) => change({ ...schedule, end: e.currentTarget.value })} hint={schedule.tz.replaceAll('_', ' ')} />
      </div>
    </>
  );
}

const occasions = [['raise', 'when raised'], ['clear', 'when cleared'], ['both', 'both']] as const;

const kinds = [['owner', 'Notify the device’s owner'], ['organization', 'Notify the organization'], ['webhook', 'Call a webhook'], ['command', 'Send the device a command']] as const;

function kindOf({ notify, webhook_id: hook, command }: RuleAction): string {
  if (command) return 'command';
  if (hook !== undefined) return 'webhook';
  return typeof notify === 'string' ? notify : 'users';
}

// fresh is an action of that kind.
function fresh(kind: string, on: RuleAction['on']): RuleAction {
  if (kind === 'webhook') return { webhook_id: '', on };
  if (kind === 'command') return { command: { name: '' }, on };
  return { notify: kind, on };
}

function Actions({ actions, org, change }: { actions: RuleAction[]; org: string; change: (actions: RuleAction[]) => void }) {
  const hooks = useList((api) => api.listWebhooks({ limit: 200 })).data ?? [];
  const put = (at: number, action: RuleAction) => change(actions.map((one, i) => (i === at ? action : one)));
  // The button that removes an action goes with it: the focus goes to the one that adds.
  const remove = (at: number, set: Element | null) => {
    change(actions.filter((_, i) => i !== at));
    setTimeout(() => set?.querySelector<HTMLElement>('[data-add]')?.focus());
  };
  return (
    <fieldset>
      <legend>What happens then</legend>
      {actions.map((action, i) => {
        const kind = kindOf(action);
        return (
          <div class="action" key={`${actions.length}/${i}`}>
            {kind === 'users' && Array.isArray(action.notify)
              ? <span>Notify {count(action.notify.length)} chosen users</span>
              : <Select hidden label={`Action ${i + 1}`} value={kind} onPick={(to) => put(i, fresh(to, action.on))} options={kinds} />}
            {kind === 'webhook' && <Hook n={i + 1} hooks={hooks} org={org} value={action.webhook_id ?? ''} onPick={(id) => put(i, { ...action, webhook_id: id })} />}
            {action.command && <Command n={i + 1} command={action.command} change={(command) => put(i, { ...action, command })} />}
            <Select hidden label={`When action ${i + 1} happens`} value={action.on} onPick={(on) => put(i, { ...action, on })} options={occasions} />
            <Button onClick={(e) => remove(i, e.currentTarget.closest('fieldset'))} aria-label={`Remove action ${i + 1}`}>Remove</Button>
          </div>
        );
      })}
      {actions.length < 10 && <div><Button icon="plus" data-add onClick={() => change([...actions, { notify: 'owner', on: 'raise' }])}>Add</Button></div>}
    </fieldset>
  );
}

// Hook picks a webhook of the rule's own scope; another one that the rule has is kept.
function Hook({ n, hooks, org, value: id, onPick }: { n: number; hooks: Webhook[]; org: string; value: string; onPick: (id: string) => void }) {
  const own = hooks.filter((hook) => (hook.organization_id ?? '') === org || hook.id === id).map((hook) => [hook.id, hook.name] as const);
  if (own.length === 0 && !id) return <span><a href="/webhooks">Make a webhook</a> first</span>;
  const known = own.some(([one]) => one === id);
  return <Select hidden label={`Webhook of action ${n}`} value={id} onPick={onPick} options={[...(known ? [] : [[id, id ? 'A webhook that you may not see' : 'Choose one'] as const]), ...own]} />;
}

type Order = NonNullable<RuleAction['command']>;

// Command edits a command; its parameters are text while they are written.
function Command({ n, command, change }: { n: number; command: Order; change: (command: Order) => void }) {
  const [text, setText] = useState(command.params === undefined ? '' : JSON.stringify(command.params));
  const write = (input: HTMLInputElement) => {
    setText(input.value);
    try {
      change({ name: command.name, ...(input.value.trim() && { params: JSON.parse(input.value) as unknown }) });
      input.setCustomValidity('');
    } catch {
      input.setCustomValidity('Write JSON, such as {"on": false}');
    }
  };
  return (
    <>
      <input aria-label={`Command of action ${n}`} required maxLength={64} pattern={'[A-Za-z0-9_.:\\-]+'} placeholder="Command" value={command.name} autocomplete="off" onInput={(e) => change({ ...command, name: e.currentTarget.value })} />
      <input aria-label={`Parameters of action ${n}, JSON`} class="mono" placeholder='{"on": false}' value={text} autocomplete="off" onInput={(e) => write(e.currentTarget)} />
    </>
  );
}

// Preview says what the rule would have raised.
function Preview({ rule }: { rule: Rule }) {
  const [range, setRange] = useState('7');
  const [found, setFound] = useState<{ episodes: Episode[]; truncated?: boolean } | null>(null);
  const devices = useGet((api) => api.listDevices({ limit: 200, fields: 'id,name' }));
  const test = useAction(async () => setFound(await api.testRule(rule.id, { from: new Date(Date.now() - Number(range) * 86_400_000).toISOString(), to: new Date().toISOString() })));
  const listed = (id: string) => devices.data?.items.find((device) => device.id === id)?.name;
  const others = useNames(devices.data && found ? [...new Set(found.episodes.map((one) => one.device_id))].filter((id) => !listed(id)).slice(0, 20) : []);
  const name = (id: string) => listed(id) ?? others.get(id) ?? 'a device';
  return (
    <Card title="Would have fired" actions={<><Choice label="Range" value={range} options={[['1', 'Day'], ['7', 'Week'], ['30', 'Month']]} onPick={setRange} /><Button icon="play" busy={test.busy} onClick={() => test.run()}>Try it</Button></>}>
      <Wrong problem={test.problem} />
      {test.busy ? <Skeleton rows={3} /> : !found ? <p class="soft">Tries the saved rule on stored readings. Nothing is stored, nobody is notified.</p> : (
        <>
          <p role="status">{found.episodes.length === 0 ? 'It would have raised no alarm.' : `It would have raised ${count(found.episodes.length)}${found.truncated ? ' or more' : ''} ${found.episodes.length === 1 ? 'alarm' : 'alarms'}.`}</p>
          {found.episodes.length > 0 && (
            <Scroll label="Alarms that it would have raised">
              <table class="table">
                <thead><tr><th scope="col">Device</th><th scope="col">Raised</th><th scope="col" class="right">Lasted</th><th scope="col" class="right">Value</th></tr></thead>
                <tbody>
                  {found.episodes.slice(0, 50).map((one) => (
                    <tr key={one.device_id + one.raised_at}><td><a href={`/devices/${one.device_id}`}>{name(one.device_id)}</a></td><td class="soft">{exactly(one.raised_at)}</td><td class="right">{one.cleared_at ? duration((Date.parse(one.cleared_at) - Date.parse(one.raised_at)) / 1000) : 'still'}</td><td class="right">{value(one.value)}</td></tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
          )}
        </>
      )}
    </Card>
  );
}
