// What may be changed of a device: name, tags, metadata, tokens, owner; and its deletion.
import { useLayoutEffect, useState } from 'preact/hooks';
import { api, newKey, Problem } from '../api';
import { tagsOf, useOrganizations } from '../fleet';
import { utcDay, when } from '../format';
import type { ViewProps } from '../lazy';
import { useGet, useList } from '../load';
import { leaving, navigate } from '../router';
import { user } from '../session';
import type { Device, DeviceToken, NewDeviceToken } from '../types';
import { Badge, Button, Card, Check, Confirm, Dialog, Empty, Field, Form, Select, Show, TextArea, toast, useAction, Wrong } from '../ui/kit';
import { Connect } from './add';
import { HandOver } from './handover';

export function Settings({ params: { id = '', edit = '' } }: ViewProps) {
  const loaded = useGet((api) => api.getDevice(id));
  if (!edit) return <Card><Empty icon="shield" title="You may only read this device">Ask the owner, or an administrator of the organization.</Empty></Card>;
  return (
    <Show from={loaded}>
      {(device) => (
        <>
          <General device={device} />
          <Tokens device={device} />
          <Owner device={device} />
          <HandOver device={device} />
          <Danger device={device} />
        </>
      )}
    </Show>
  );
}

function General({ device }: { device: Device }) {
  const [touched, setTouched] = useState(false);
  const [before, setBefore] = useState(device);
  useLayoutEffect(() => {
    leaving.ask = touched ? () => confirm('Leave without saving your changes?') : null;
    return () => { leaving.ask = null; };
  }, [touched]);
  return (
    <Card title="General">
      <Form
        submit="Save" onFields={() => setTouched(true)}
        send={async ({ name, type, tags = '', serial, metadata, heartbeat, status }) => {
          let meta: Record<string, unknown> | null = null;
          try {
            if (metadata?.trim()) meta = JSON.parse(metadata) as Record<string, unknown>;
          } catch {
            throw new Problem(-1, 'The metadata is not JSON: write {"room": "kitchen"}', { metadata: 'Not JSON' });
          }
          if (meta !== null && (typeof meta !== 'object' || Array.isArray(meta))) throw new Problem(-1, 'The metadata must be an object: {"room": "kitchen"}', { metadata: 'Not an object' });
          const wanted = { name, type, tags: tagsOf(tags), serial: serial || null, metadata: meta, heartbeat_interval: Number(heartbeat), status: status as Device['status'] };
          // What was not edited stays as the server has it: the device or another user may have changed it meanwhile.
          const edited = Object.entries(wanted).filter(([field, now]) => JSON.stringify(now) !== JSON.stringify(before[field as keyof Device]));
          if (edited.length > 0) setBefore(await api.updateDevice(device.id, Object.fromEntries(edited)));
          setTouched(false);
          toast('Saved');
        }}
      >
        {(problem) => (
          <>
            <div class="row">
              <Field label="Name" name="name" required maxLength={200} defaultValue={device.name} error={problem?.fields.name} />
              <Field label="Type" name="type" required maxLength={64} defaultValue={device.type} error={problem?.fields.type} />
            </div>
            <div class="row">
              <Field label="Tags, separated by commas" name="tags" defaultValue={device.tags.join(', ')} error={problem?.fields.tags} />
              <Field label="Serial number" name="serial" defaultValue={device.serial ?? ''} error={problem?.fields.serial} />
            </div>
            <div class="row">
              <Field label="Heartbeat every (seconds)" name="heartbeat" type="number" min={1} required defaultValue={String(device.heartbeat_interval)} hint="Offline after three times this in silence" error={problem?.fields.heartbeat_interval} />
              <Status device={device} />
            </div>
            <TextArea label="Metadata (JSON)" name="metadata" rows={5} defaultValue={device.metadata ? JSON.stringify(device.metadata, null, 2) : ''} error={problem?.fields.metadata} />
          </>
        )}
      </Form>
    </Card>
  );
}

function Status({ device }: { device: Device }) {
  const [status, setStatus] = useState<string>(device.status);
  return (
    <div>
      <Select label="Status" value={status} onPick={setStatus} options={[['active', 'Active'], ['inactive', 'Inactive'], ['error', 'Error']]} />
      <input type="hidden" name="status" value={status} />
    </div>
  );
}

function Tokens({ device }: { device: Device }) {
  const list = useList((api) => api.listDeviceTokens(device.id, { limit: 200 }));
  const [made, setMade] = useState<NewDeviceToken | null>(null);
  const [ending, setEnding] = useState<DeviceToken | null>(null);
  const [adding, setAdding] = useState(false);
  return (
    <Card title="Tokens" flush actions={<Button icon="plus" onClick={() => setAdding(true)}>New token</Button>}>
      <Show from={list}>
        {(tokens) => tokens.length === 0 ? <Empty icon="key" title="No token">The device needs one to send readings.</Empty> : (
          <ul class="rows">
            {tokens.map((token) => (
              <li key={token.id}>
                <div>Made {when(token.created_at)} {token.gateway && <Badge tone="info">gateway</Badge>}<small>{token.last_used_at ? `last used on ${utcDay(token.last_used_at)}` : 'never used'}</small></div>
                <Button look="bad" onClick={() => setEnding(token)}>Revoke</Button>
              </li>
            ))}
          </ul>
        )}
      </Show>
      {adding && <AddToken id={device.id} close={() => setAdding(false)} made={(token) => { setAdding(false); setMade(token); list.reload(); }} />}
      {made && <Dialog title={`Connect ${device.name}`} close={() => setMade(null)} wide><Connect device={device} token={made} leave={() => setMade(null)} /></Dialog>}
      {ending && (
        <Confirm
          title="Revoke this token?" button="Revoke" close={() => setEnding(null)} text="A device that uses it cannot send any more, from now on."
          act={async () => { await api.deleteDeviceToken(device.id, ending.id); list.reload(); }}
        />
      )}
    </Card>
  );
}

function AddToken({ id, close, made }: { id: string; close: () => void; made: (token: NewDeviceToken) => void }) {
  const [key, setKey] = useState(newKey);
  return (
    <Dialog title="New token" close={close}>
      <Form
        submit="Make the token" onFields={() => setKey(newKey())}
        send={async ({ gateway }) => made(await api.createDeviceToken(id, gateway ? { gateway: true } : {}, { idempotencyKey: key }))}
      >
        {() => <Check name="gateway" label="For a gateway" hint="Over MQTT it sends and receives for the other devices of the same owner or organization too" />}
      </Form>
    </Dialog>
  );
}

function Owner({ device }: { device: Device }) {
  const orgs = useOrganizations().filter((org) => org.role !== 'viewer');
  const [to, setTo] = useState(device.organization_id ?? '');
  const move = useAction(async () => {
    await api.transferDevice(device.id, to ? { organization_id: to } : { owner_id: user.value?.id });
    toast('The device is moved, with its history');
  });
  if (orgs.length === 0 && device.organization_id === null) return null;
  return (
    <Card title="Owner">
      <Select label="Belongs to" value={to} onPick={setTo} options={[['', 'You'], ...orgs.map((org) => [org.id, org.name] as const)]} hint="Its history moves along." />
      <Wrong problem={move.problem} />
      <div class="form-foot"><Button busy={move.busy} disabled={to === (device.organization_id ?? '')} onClick={() => move.run()}>Move</Button></div>
    </Card>
  );
}

function Danger({ device }: { device: Device }) {
  const [sure, setSure] = useState(false);
  return (
    <Card title="Delete this device">
      <p class="soft">Its logs, tokens, states and commands are deleted with it.</p>
      <div><Button look="bad" icon="trash" onClick={() => setSure(true)}>Delete device</Button></div>
      {sure && (
        <Confirm
          title={`Delete ${device.name}?`} text="This cannot be undone." button="Delete" typed={device.name} close={() => setSure(false)}
          act={async () => { leaving.ask = null; await api.deleteDevice(device.id); navigate('/devices', { replace: true }); }}
        />
      )}
    </Card>
  );
}
