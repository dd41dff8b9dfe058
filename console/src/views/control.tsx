// What a device should be and what it is told: desired and reported state, commands.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { api, newKey, Problem } from '../api';
import { exactly } from '../format';
import type { ViewProps } from '../lazy';
import { on } from '../live';
import { useGet, useList } from '../load';
import { leaving } from '../router';
import type { Command, CommandState, NewCommand, Twin } from '../types';
import { Ago, Badge, Button, Card, Empty, Failed, Field, Form, More, Show, Skeleton, TextArea, toast, useAction, Wrong, type Tone } from '../ui/kit';

const json = (v: unknown) => JSON.stringify(v, null, 2);

export function State({ params: { id = '', edit = '' } }: ViewProps) {
  const twin = useGet((api) => api.getTwin(id));
  const reload = useRef(twin.reload);
  reload.current = twin.reload;
  useEffect(() => on<{ device_id: string }>('device-twin', (data) => { if (data.device_id === id) reload.current(); }), [id]);
  return <Show from={twin} rows={6}>{(data) => <Sides twin={data} edit={edit !== ''} saved={(now) => twin.set(() => now)} />}</Show>;
}

function Sides({ twin, edit, saved }: { twin: Twin; edit: boolean; saved: (twin: Twin) => void }) {
  const rest = Object.keys(twin.delta).length;
  return (
    <>
      <div class="grid even">
        <Desired twin={twin} edit={edit} saved={saved} />
        <Card title="Reported" actions={<span class="soft small">{twin.reported_at ? <>version {twin.reported_version}, <Ago at={twin.reported_at} /></> : 'nothing yet'}</span>}>
          <pre class="json" tabIndex={0} aria-label="Reported state">{json(twin.reported)}</pre>
        </Card>
      </div>
      <Card title="Difference" actions={<Badge tone={rest ? 'warn' : 'good'}>{rest ? 'The device has not followed yet' : 'The device is as desired'}</Badge>}>
        {rest > 0 && <pre class="json" tabIndex={0} aria-label="Difference">{json(twin.delta)}</pre>}
      </Card>
    </>
  );
}

// difference returns the merge patch that turns one object into the other.
function difference(from: Record<string, unknown>, to: Record<string, unknown>): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const key of Object.keys(from)) if (!(key in to)) out[key] = null;
  for (const [key, next] of Object.entries(to)) {
    const now = from[key];
    if (isObject(now) && isObject(next)) {
      const inner = difference(now, next);
      if (Object.keys(inner).length) out[key] = inner;
    } else if (JSON.stringify(now) !== JSON.stringify(next)) out[key] = next;
  }
  return out;
}

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);

function Desired({ twin, edit, saved }: { twin: Twin; edit: boolean; saved: (twin: Twin) => void }) {
  // base is the state that the text began with: what is sent is the difference from it, so that others' changes stay.
  const [base, setBase] = useState(twin);
  const before = json(base.desired);
  const [text, setText] = useState(before);
  const follow = (now: Twin) => { setBase(now); setText(json(now.desired)); };
  const newer = base.desired_version !== twin.desired_version;
  useEffect(() => { if (newer && text === before) follow(twin); }, [newer]);
  useLayoutEffect(() => {
    leaving.ask = text === before ? null : () => confirm('Leave without saving the desired state?');
    return () => { leaving.ask = null; };
  }, [text, before]);
  const save = useAction(async () => {
    let wanted: unknown;
    try {
      wanted = JSON.parse(text);
    } catch (e) {
      throw new Problem(-1, `This is not JSON: ${(e as Error).message}`);
    }
    if (!isObject(wanted)) throw new Problem(-1, 'The state must be an object: {"name": value}');
    const now = await api.updateTwinDesired(twin.device_id, difference(base.desired, wanted));
    toast('The desired state is saved');
    follow(now);
    saved(now);
  });
  return (
    <Card title="Desired" actions={<span class="soft small">{twin.desired_at ? <>version {twin.desired_version}, <Ago at={twin.desired_at} /></> : 'nothing yet'}</span>}>
      {!edit ? <pre class="json" tabIndex={0} aria-label="Desired state">{json(twin.desired)}</pre> : (
        <>
          <TextArea label="What the device should be (JSON)" value={text} rows={10} onInput={(e) => setText(e.currentTarget.value)} />
          <Wrong problem={save.problem} />
          {newer && text !== before && <p class="soft small" role="status">It was changed meanwhile, to version {twin.desired_version}. Saving changes only what you edited.</p>}
          <div class="form-foot"><Button look={text === before ? 'quiet' : 'main'} busy={save.busy} onClick={() => { if (text !== before) save.run(); }}>Save</Button>{text !== before && <Button onClick={() => follow(twin)}>Undo</Button>}</div>
        </>
      )}
    </Card>
  );
}

const tones: Record<CommandState, Tone> = { queued: 'info', sent: 'info', delivered: 'info', succeeded: 'good', failed: 'bad', expired: 'warn', cancelled: 'soft' };
const open = (state: CommandState) => state === 'queued' || state === 'sent' || state === 'delivered';

export function Commands({ params: { id = '', edit = '' } }: ViewProps) {
  const list = useList((api) => api.listCommands(id, { limit: 50 }));
  const current = useRef(list);
  current.current = list;
  useEffect(() => on<Command>('device-command', (command) => {
    if (command.device_id !== id) return;
    current.current.set((all) => (all.some((one) => one.id === command.id) ? all.map((one) => (one.id === command.id ? command : one)) : [command, ...all]));
  }), [id]);
  const add = (command: Command) => list.set((all) => (all.some((one) => one.id === command.id) ? all : [command, ...all]));
  return (
    <>
      {edit && <SendCommand id={id} names={[...new Set((list.data ?? []).map((one) => one.name))]} sent={add} />}
      <Card title="Commands" flush>
        {!list.data ? (list.error && list.error.status !== 0 ? <Failed problem={list.error} again={list.reload} /> : <Skeleton rows={4} />)
          : list.data.length === 0 ? <Empty icon="terminal" title="No commands yet">A command waits until the device is there; its state here is what really happened.</Empty>
          : <ul class="rows">{list.data.map((command) => <One key={command.id} command={command} edit={edit !== ''} />)}</ul>}
        <More more={list.more} />
      </Card>
    </>
  );
}

function One({ command, edit }: { command: Command; edit: boolean }) {
  const cancel = useAction(() => api.cancelCommand(command.id));
  const detail = command.error ?? (command.result === null || command.result === undefined ? '' : JSON.stringify(command.result));
  return (
    <li>
      <div>
        <span class="mono strong">{command.name}</span>{command.params !== null && command.params !== undefined && <span class="mono soft"> {JSON.stringify(command.params)}</span>}
        {detail && <small class={command.error ? 'bad' : ''}>{detail}</small>}
        <small>{exactly(command.created_at)}{command.attempts > 1 && ` · sent ${command.attempts} times`}{open(command.state) && <> · expires <Ago at={command.expires_at} /></>}</small>
        <Wrong problem={cancel.problem} />
      </div>
      <span role="status"><Badge tone={tones[command.state]}>{command.state}</Badge></span>
      {edit && open(command.state) && <Button busy={cancel.busy} onClick={() => cancel.run()}>Cancel</Button>}
    </li>
  );
}

function SendCommand({ id, names, sent }: { id: string; names: string[]; sent: (command: Command) => void }) {
  const [key, setKey] = useState(newKey);
  return (
    <Card title="Send a command">
      <Form
        submit="Send"
        send={async ({ name = '', params, expires }) => {
          const body: NewCommand = { name, expires_in: Number(expires) * 60 };
          if (params?.trim()) {
            try {
              body.params = JSON.parse(params);
            } catch {
              throw new Problem(-1, 'The parameters are not JSON: write {"level": 3}, 42, true or "text"');
            }
          }
          sent(await api.sendCommand(id, body, { idempotencyKey: key }));
          setKey(newKey());
        }}
        onFields={() => setKey(newKey())}
      >
        {(problem) => (
          <div class="row">
            <Field label="Name" name="name" required maxLength={64} pattern="[A-Za-z0-9_.:\-]+" title="Letters, digits and _ . : -" placeholder="switch" list="command-names" autocomplete="off" error={problem?.fields.name} />
            <Field label="Parameters (JSON, optional)" name="params" placeholder='{"on": true}' autocomplete="off" class="mono" error={problem?.fields.params} />
            <Field label="Expires after minutes" name="expires" type="number" min={1} max={43200} defaultValue="60" />
          </div>
        )}
      </Form>
      <datalist id="command-names">{names.map((name) => <option key={name} value={name} />)}</datalist>
    </Card>
  );
}
