// What the server has notified the user of.
import { useEffect, useRef } from 'preact/hooks';
import { api } from '../api';
import { on } from '../live';
import { useList } from '../load';
import { query, setQuery } from '../router';
import { unread } from '../shell';
import type { Notification } from '../types';
import { Icon, type IconName } from '../ui/icons';
import { Ago, Button, Card, Choice, Empty, Failed, LinkButton, More, Page, Skeleton, useAction, Wrong } from '../ui/kit';

const icons: Record<string, IconName> = {
  export_ready: 'export', export_failed: 'export', device_offline: 'devices', device_online: 'devices', new_sign_in: 'shield',
  refresh_reused: 'shield', password_changed: 'key', email_changed: 'user', account_locked: 'shield', alarm: 'alarm',
};

// target is the view that the notification is about.
function target({ data }: Notification): string | undefined {
  if (data.alarm_id) return `/alarms/${data.alarm_id}`;
  if (data.export_id) return `/exports/${data.export_id}`;
  if (data.device_id) return `/devices/${data.device_id}`;
  return undefined;
}

export function Notifications() {
  const only = query.value.get('unread') === '1';
  const list = useList((api) => api.listNotifications({ unread: only, limit: 50 }));
  const current = useRef(list);
  current.current = list;
  useEffect(() => on<Notification>('notification', (one) => current.current.set((all) => [one, ...all.filter(({ id }) => id !== one.id)])), []);
  const read = (one: Notification) => {
    if (one.read_at) return;
    unread.value = Math.max(0, unread.value - 1);
    list.set((all) => all.map((each) => (each.id === one.id ? { ...each, read_at: new Date().toISOString() } : each)));
    void api.readNotification(one.id).catch(() => undefined);
  };
  const all = useAction(async () => {
    await api.readAllNotifications();
    unread.value = 0;
    list.set((items) => items.map((one) => ({ ...one, read_at: one.read_at ?? new Date().toISOString() })));
  });
  return (
    <Page
      title="Notifications"
      actions={<><Choice label="Which" value={only ? '1' : ''} options={[['', 'All'], ['1', 'Unread']]} onPick={(v) => setQuery({ unread: v })} /><Button icon="check" busy={all.busy} disabled={unread.value === 0} onClick={() => all.run()}>Mark all as read</Button><LinkButton icon="settings" href="/account/notifications">Settings</LinkButton></>}
    >
      <Wrong problem={all.problem} />
      <Card flush>
        {!list.data ? (list.error && list.error.status !== 0 ? <Failed problem={list.error} again={list.reload} /> : <Skeleton rows={5} />)
          : list.data.length === 0 ? <Empty icon="bell" title={only ? 'Nothing is unread' : 'No notifications yet'}>Exports that are ready, devices that go offline and sign-ins show here.</Empty> : (
            <ul class="rows notices">
              {list.data.map((one) => (
                <li key={one.id} class={one.read_at ? '' : 'unread'}>
                  <span class="notice-icon"><Icon name={icons[one.type] ?? 'bell'} size={18} /></span>
                  <div>
                    {target(one) ? <a href={target(one)} onClick={() => read(one)}>{one.title}</a> : <span class="strong">{one.title}</span>}
                    <small>{one.body}</small>
                  </div>
                  <span class="soft small nowrap"><Ago at={one.created_at} /></span>
                  {!one.read_at && <Button onClick={() => read(one)} aria-label={`Mark as read: ${one.title}`}>Read</Button>}
                </li>
              ))}
            </ul>
          )}
        <More more={list.more} />
      </Card>
    </Page>
  );
}
