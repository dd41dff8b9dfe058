// What stands around the views of a signed-in user: navigation, connection, account.
import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { signal } from '@preact/signals';
import { api, reachable } from './api';
import { on } from './live';
import { path } from './router';
import { signOut, user } from './session';
import type { Notification } from './types';
import { Icon, Mark, type IconName } from './ui/icons';
import { IconButton, toast } from './ui/kit';

// unread counts the notifications that the user has not read.
export const unread = signal(0);

export async function countUnread() {
  const list = await api.listNotifications({ unread: true, limit: 1, count: true });
  unread.value = list.total ?? 0;
}

interface Item { href: string; text: string; icon: IconName }
type Group = readonly [string, readonly Item[]];

const groups: readonly Group[] = [
  ['', [
    { href: '/', text: 'Overview', icon: 'home' },
    { href: '/devices', text: 'Devices', icon: 'devices' },
    { href: '/alarms', text: 'Alarms', icon: 'alarm' },
    { href: '/compare', text: 'Compare', icon: 'compare' },
    { href: '/exports', text: 'Exports', icon: 'export' },
    { href: '/notifications', text: 'Notifications', icon: 'bell' },
  ]],
  ['Manage', [
    { href: '/rules', text: 'Rules', icon: 'rule' },
    { href: '/organizations', text: 'Organizations', icon: 'people' },
    { href: '/provisioning', text: 'Provisioning', icon: 'key' },
    { href: '/webhooks', text: 'Webhooks', icon: 'hook' },
  ]],
];

const adminGroup: Group = ['Administration', [
  { href: '/admin/users', text: 'Users', icon: 'user' },
  { href: '/admin/integrations', text: 'Integrations', icon: 'hook' },
  { href: '/admin/jobs', text: 'Jobs', icon: 'list' },
  { href: '/admin/audit', text: 'Audit log', icon: 'shield' },
  { href: '/admin/backups', text: 'Backups', icon: 'export' },
  { href: '/admin/server', text: 'Server', icon: 'gauge' },
]];

function isHere(href: string, now: string) {
  return href === '/' ? now === '/' : now === href || now.startsWith(href + '/');
}

export function Shell({ children }: { children: ComponentChildren }) {
  const [open, setOpen] = useState(false);
  const now = path.value;
  const me = user.value;
  useEffect(() => setOpen(false), [now]);
  useEffect(() => {
    void countUnread().catch(() => undefined);
    return on<Notification>('notification', (one) => { unread.value++; toast(one.title, 'bell'); });
  }, []);
  useEffect(() => {
    if (!open) return;
    const close = (e: KeyboardEvent) => {
      if (e.key !== 'Escape') return;
      setOpen(false);
      document.querySelector<HTMLElement>('[aria-controls=navigation]')?.focus();
    };
    addEventListener('keydown', close);
    document.querySelector<HTMLElement>('.side a')?.focus();
    return () => removeEventListener('keydown', close);
  }, [open]);
  if (!me) return null;
  const shown = me.role === 'admin' ? [...groups, adminGroup] : groups;
  return (
    <>
      <a class="skip" href="#main">Skip to content</a>
      <div class="shell">
        <header class="top">
          <IconButton icon="menu" label="Menu" aria-expanded={open} aria-controls="navigation" onClick={() => setOpen(true)} />
          <a class="brand" href="/"><Mark size={24} />hearth</a>
          <a class="icon-button bell" href="/notifications" aria-label={`Notifications, ${unread.value} unread`}><Icon name="bell" />{unread.value > 0 && <i />}</a>
        </header>
        {open && <button type="button" class="veil" tabIndex={-1} aria-label="Close the menu" onClick={() => setOpen(false)} />}
        <nav class={open ? 'side open' : 'side'} id="navigation" aria-label="Main">
          <a class="brand" href="/"><Mark />hearth</a>
          <div>
            {shown.map(([title, items]) => (
              <div key={title}>
                {title && <h2>{title}</h2>}
                <ul>
                  {items.map((item) => (
                    <li key={item.href}>
                      <a href={item.href} aria-current={isHere(item.href, now) ? 'page' : undefined}><Icon name={item.icon} />{item.text}{item.href === '/notifications' && unread.value > 0 && <span class="pill">{unread.value > 99 ? '99+' : unread.value}<span class="unseen"> unread</span></span>}</a>
                    </li>
                  ))}
                </ul>
              </div>
            ))}
          </div>
          <div class="side-foot">
            <ul><li><a href="/docs/guide" target="_blank"><Icon name="book" />Documentation</a></li></ul>
            <div class="me">
              <a href="/account"><span class="avatar" aria-hidden="true">{me.name.charAt(0).toUpperCase()}</span><span>{me.name}<small>{me.email}</small></span></a>
              <IconButton icon="out" label="Sign out" onClick={() => void signOut()} />
            </div>
          </div>
        </nav>
        <main class="stage" id="main">
          {!reachable.value && <p class="notice" role="status"><Icon name="refresh" size={16} />The server cannot be reached. What you see may be old; it goes on by itself.</p>}
          {children}
        </main>
      </div>
    </>
  );
}
