// Deleting a span of a device's logs: from the log table, and of what a chart shows.
import { useState } from 'preact/hooks';
import { api, Problem } from '../api';
import { count, exactly } from '../format';
import { Confirm, Dialog, Field, Form, toast } from '../ui/kit';

interface Span { from: string; to: string }

// local is a time as an input for local times has it.
const local = (at: number) => new Date(at - new Date(at).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);

// Cut asks for a span, then for certainty. Without events it is about all of them; a span that is given needs no asking.
export function Cut({ id, events, given, close, done }: { id: string; events: string[]; given?: { from: number; to: number }; close: () => void; done: () => void }) {
  const [span, setSpan] = useState<Span & { events: string[] } | null>(given ? { from: new Date(given.from).toISOString(), to: new Date(given.to).toISOString(), events } : null);
  if (span) {
    return (
      <Confirm
        title="Delete these logs?" button="Delete" close={close}
        text={<>All logs {span.events.length > 0 && <>of <b>{span.events.join(', ')}</b> </>}from {exactly(span.from)} to {exactly(span.to)} are deleted for ever. Analytics follow at once.</>}
        act={async () => {
          let all = 0;
          for (const event of span.events.length ? span.events : [undefined]) {
            all += (await api.deleteLogs(id, { from: span.from, to: span.to, ...(event && { event }) })).deleted;
          }
          toast(`${count(all)} logs deleted`);
          done();
        }}
      />
    );
  }
  const now = Date.now();
  return (
    <Dialog title="Delete a span of logs" close={close}>
      <Form
        submit="Continue"
        send={async ({ from = '', to = '', event = '' }) => {
          if (!(new Date(from) < new Date(to))) throw new Problem(-1, 'The end must be after the start');
          setSpan({ from: new Date(from).toISOString(), to: new Date(to).toISOString(), events: event ? [event] : [] });
        }}
      >
        {() => (
          <>
            <div class="row">
              <Field label="From" name="from" type="datetime-local" step="1" required autofocus defaultValue={local(now - 3_600_000)} />
              <Field label="To (excluded)" name="to" type="datetime-local" step="1" required defaultValue={local(now)} />
            </div>
            <Field label="Event" name="event" defaultValue={events[0] ?? ''} hint="Empty: all events" autocomplete="off" />
          </>
        )}
      </Form>
    </Dialog>
  );
}
