// Views whose code is read when they are first shown.
import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { reachable } from './api';
import { path } from './router';
import { Button, Empty, Skeleton } from './ui/kit';

export interface ViewProps { params: Record<string, string> }
type View = ComponentType<ViewProps>;

const views = new Map<string, View>();

// Lazy shows the view of that name once load has read it. A view of an address gets the focus on its heading.
export function Lazy({ load, name, params, focus }: { load: () => Promise<unknown>; name: string; params: Record<string, string>; focus?: boolean }) {
  const [failed, setFailed] = useState(false);
  const [, draw] = useState(0);
  const View = views.get(name);
  useEffect(() => {
    if (views.has(name)) return;
    let gone = false;
    setFailed(false);
    load().then(
      (module) => { views.set(name, (module as Record<string, View>)[name] as View); if (!gone) draw((n) => n + 1); },
      () => { if (!gone) setFailed(true); },
    );
    return () => { gone = true; };
  }, [name]);
  useEffect(() => {
    if (!focus || !View || document.querySelector('dialog[open]')) return;
    const first = document.querySelector<HTMLElement>('[autofocus]:not(dialog *)') ?? document.querySelector<HTMLElement>('main h1');
    first?.focus({ preventScroll: true });
  }, [View, path.value]);
  if (View) return <View params={params} />;
  if (!failed) return <div class="page"><Skeleton rows={6} /></div>;
  return (
    <Empty icon="alarm" title={reachable.value ? 'The server has another version now' : 'The server cannot be reached'} action={<Button look="main" onClick={() => location.reload()}>Load again</Button>}>
      This part of the console cannot be loaded.
    </Empty>
  );
}
