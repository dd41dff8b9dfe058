// What is done with several devices at once.
import { useState } from 'preact/hooks';
import { api, newKey } from '../api';
import { tagsOf } from '../fleet';
import { count, plural } from '../format';
import { navigate } from '../router';
import type { Device } from '../types';
import { Button, Confirm, Dialog, Field, Form, Progress, TextArea, toast } from '../ui/kit';

type Work = 'tag' | 'untag' | 'command' | 'delete' | null;

export function Bulk({ devices, clear, changed }: { devices: Device[]; clear: () => void; changed: () => void }) {
  const [work, setWork] = useState<Work>(null);
  const [done, setDone] = useState<number | null>(null);
  const many = plural(devices.length, 'device');
  // each works through the devices; what fails stops it and is shown, what is done stays done.
  const each = async (act: (device: Device) => Promise<unknown>) => {
    try {
      for (const [i, device] of devices.entries()) {
        setDone(i);
        await act(device);
      }
      clear();
    } finally {
      setDone(null);
      changed();
    }
  };
  const ids = devices.map((device) => device.id);
  return (
    <div class="bulk" role="region" aria-label="Selected devices">
      <b role="status">{many} selected</b>
      <div class="actions">
        <Button icon="tag" onClick={() => setWork('tag')}>Add tags</Button>
        <Button onClick={() => setWork('untag')}>Remove tags</Button>
        <Button icon="terminal" onClick={() => setWork('command')}>Send command</Button>
        {devices.length >= 2 && devices.length <= 20 && <Button icon="compare" onClick={() => navigate(`/compare?devices=${ids.join(',')}`)}>Compare</Button>}
        <Button icon="export" onClick={() => navigate(`/exports?new=1&devices=${ids.join(',')}`)}>Export</Button>
        <Button look="bad" icon="trash" onClick={() => setWork('delete')}>Delete</Button>
        <Button look="plain" onClick={clear}>Clear</Button>
      </div>
      {(work === 'tag' || work === 'untag') && (
        <Dialog title={`${work === 'tag' ? 'Add tags to' : 'Remove tags from'} ${many}`} close={() => setWork(null)}>
          <Form
            submit={work === 'tag' ? 'Add' : 'Remove'}
            send={async ({ tags = '' }) => {
              const named = tagsOf(tags);
              await each((device) => api.updateDevice(device.id, { tags: work === 'tag' ? [...new Set([...device.tags, ...named])] : device.tags.filter((tag) => !named.includes(tag)) }));
              toast(`${many} changed`);
              setWork(null);
            }}
          >
            {() => <Field label="Tags, separated by commas" name="tags" required autofocus autocomplete="off" />}
          </Form>
          {done !== null && <Done done={done} of={devices.length} />}
        </Dialog>
      )}
      {work === 'command' && <BulkCommand ids={ids} many={many} close={() => setWork(null)} />}
      {work === 'delete' && (
        <Confirm
          title={`Delete ${many}?`} button={`Delete ${many}`} typed={devices.length > 1 ? String(devices.length) : undefined} close={() => setWork(null)}
          text={<>Their logs, tokens and states are deleted too. This cannot be undone.{done !== null && <Done done={done} of={devices.length} />}</>}
          act={() => each((device) => api.deleteDevice(device.id))}
        />
      )}
    </div>
  );
}

// Done shows how far the work is.
function Done({ done, of }: { done: number; of: number }) {
  return (
    <>
      <Progress label="Devices done" value={(done / of) * 100} />
      <p class="soft small" role="status">{count(done)} of {plural(of, 'device')}. The server’s limit on requests slows many down.</p>
    </>
  );
}

function BulkCommand({ ids, many, close }: { ids: string[]; many: string; close: () => void }) {
  const [key] = useState(newKey);
  return (
    <Dialog title={`Send a command to ${many}`} close={close}>
      <Form
        submit="Send"
        send={async ({ name = '', params }) => {
          const sent = await api.sendCommands({ device_ids: ids, name, ...(params?.trim() && { params: JSON.parse(params) as unknown }) }, { idempotencyKey: key });
          toast(`${plural(sent.total, 'command')} queued`);
          close();
        }}
      >
        {(problem) => (
          <>
            <Field label="Command" name="name" required autofocus maxLength={64} pattern="[A-Za-z0-9_.:\-]+" title="Letters, digits and _ . : -" placeholder="restart" error={problem?.fields.name} autocomplete="off" />
            <TextArea label="Parameters (JSON, optional)" name="params" placeholder='{"level": 3}' />
          </>
        )}
      </Form>
    </Dialog>
  );
}
