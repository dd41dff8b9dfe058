// Devices that connect by themselves with a provisioning key, and devices that are claimed by a code.
import { useState } from 'preact/hooks';
import { api, newKey } from '../api';
import { tagsOf, useOrganizations } from '../fleet';
import { count, day } from '../format';
import { useList } from '../load';
import { carried, navigate } from '../router';
import type { ProvisioningKey } from '../types';
import { Button, Card, Code, Confirm, Dialog, Empty, Field, Form, LinkButton, More, Page, Select, Show, toast } from '../ui/kit';

export function Provisioning() {
  const list = useList((api) => api.listProvisioningKeys({ limit: 100 }));
  const orgs = useOrganizations();
  const [adding, setAdding] = useState(false);
  const [made, setMade] = useState<string | null>(null);
  const [gone, setGone] = useState<ProvisioningKey | null>(null);
  return (
    <Page
      title="Provisioning" lead="Devices that connect by themselves, with a key that all of a kind share"
      actions={<><LinkButton icon="key" href="/claim">Claim a device</LinkButton><Button look="main" icon="plus" onClick={() => setAdding(true)}>New key</Button></>}
    >
      <Card flush>
        <Show from={list}>
          {(keys) => keys.length === 0 ? <Empty icon="key" title="No provisioning keys">Put one into the firmware of many devices: each makes itself known by its serial number and gets a token of its own.</Empty> : (
            <ul class="rows">
              {keys.map((key) => (
                <li key={key.id}>
                  <div>
                    <span class="strong">{key.name}</span> <code class="soft">{key.prefix}…</code>
                    <small>{key.device_type}{key.tags.length > 0 && ` · ${key.tags.join(', ')}`}{key.organization_id && ` · ${orgs.find((org) => org.id === key.organization_id)?.name ?? 'an organization'}`}</small>
                    <small>{count(key.device_count)}{key.max_devices ? ` of ${count(key.max_devices)}` : ''} devices · {key.expires_at ? `until ${day(key.expires_at)}` : 'no end'}</small>
                  </div>
                  <Button look="bad" onClick={() => setGone(key)}>Delete</Button>
                </li>
              ))}
            </ul>
          )}
        </Show>
        <More more={list.more} />
      </Card>
      {adding && <NewProvisioningKey close={() => setAdding(false)} made={(key) => { setAdding(false); setMade(key); list.reload(); }} />}
      {made && (
        <Dialog title="Your new provisioning key" close={() => setMade(null)} wide>
          <p>It is shown only now.</p>
          <Code label="Provisioning key" text={made} />
          <p>What a device sends once, to get its token:</p>
          <Code label="Provisioning request" text={`curl -X POST ${location.origin}/api/v1/provision \\\n  -H 'Content-Type: application/json' \\\n  -d '{"key": "${made}", "serial": "SN-0001"}'`} />
        </Dialog>
      )}
      {gone && <Confirm title={`Delete ${gone.name}?`} button="Delete" text="No further device can use it. Those that it made stay." close={() => setGone(null)} act={async () => { await api.deleteProvisioningKey(gone.id); list.reload(); }} />}
    </Page>
  );
}

function NewProvisioningKey({ close, made }: { close: () => void; made: (key: string) => void }) {
  const [key, setKey] = useState(newKey);
  const [org, setOrg] = useState('');
  const orgs = useOrganizations().filter(({ role }) => role === 'owner' || role === 'admin');
  return (
    <Dialog title="New provisioning key" close={close}>
      <Form
        submit="Make the key" onFields={() => setKey(newKey())}
        send={async ({ name = '', type = '', tags = '', most, expires }) => {
          const named = tagsOf(tags);
          const answer = await api.createProvisioningKey({
            name, device_type: type, ...(named.length && { tags: named }), ...(most && { max_devices: Number(most) }),
            ...(expires && { expires_at: new Date(expires + 'T23:59:59').toISOString() }), ...(org && { organization_id: org }),
          }, { idempotencyKey: key });
          made(answer.key);
        }}
      >
        {(problem) => (
          <>
            <Field label="Name" name="name" required autofocus maxLength={100} placeholder="Lamps of March" autocomplete="off" error={problem?.fields.name} />
            <div class="row">
              <Field label="Type of its devices" name="type" required maxLength={64} placeholder="lamp" autocomplete="off" error={problem?.fields.device_type} />
              <Field label="Tags (optional)" name="tags" autocomplete="off" error={problem?.fields.tags} />
            </div>
            <div class="row">
              <Field label="Devices at most (optional)" name="most" type="number" min={1} error={problem?.fields.max_devices} />
              <Field label="Until (optional)" name="expires" type="date" error={problem?.fields.expires_at} />
            </div>
            {orgs.length > 0 && <Select label="Its devices belong to" value={org} onPick={setOrg} options={[['', 'You'], ...orgs.map((one) => [one.id, one.name] as const)]} />}
          </>
        )}
      </Form>
    </Dialog>
  );
}

export function Claim() {
  return (
    <Page title="Claim a device" back={{ href: '/devices', text: 'Devices' }} lead="With the code of the one who has it now. It becomes yours, with its history.">
      <Card>
        <Form
          submit="Claim"
          send={async ({ code = '' }) => {
            const device = await api.claimDevice({ code });
            toast(`${device.name} is yours`);
            navigate(`/devices/${device.id}`);
          }}
        >
          {(problem) => <Field label="Code" name="code" required autofocus defaultValue={carried('/claim')} maxLength={64} placeholder="7Q4M-0XTZ-K9BD" autocomplete="off" autocapitalize="characters" hint="Upper and lower case, dashes and spaces do not matter" error={problem?.fields.code} />}
        </Form>
      </Card>
    </Page>
  );
}
