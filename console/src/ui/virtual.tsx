// A list of rows of one height, of which only those in view are in the document; the window scrolls it.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

export function Virtual<T>({ items, height, row, more, label, header, count }: {
  items: T[]; height: number; row: (item: T, index: number) => ComponentChildren; more: (() => void) | null;
  label: string; header?: ComponentChildren; count: number;
}) {
  const ref = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ from: 0, to: 40 });
  useEffect(() => {
    let frame = 0;
    const measure = () => {
      frame = 0;
      const top = ref.current?.getBoundingClientRect().top ?? 0;
      const from = Math.max(0, Math.floor(-top / height) - 8);
      const to = Math.ceil((innerHeight - top) / height) + 8;
      setView((now) => (now.from === from && now.to === to ? now : { from, to }));
      if (more && to > items.length - 150) more();
    };
    const soon = () => { frame ||= requestAnimationFrame(measure); };
    measure();
    addEventListener('scroll', soon, { passive: true });
    addEventListener('resize', soon);
    return () => { cancelAnimationFrame(frame); removeEventListener('scroll', soon); removeEventListener('resize', soon); };
  }, [items.length, height, more]);
  const to = Math.min(items.length, view.to);
  return (
    <div role="table" aria-label={label} aria-rowcount={count + 1} class="virtual">
      {header && <div role="rowgroup">{header}</div>}
      <div role="rowgroup" ref={ref} style={{ height: `${items.length * height}px`, position: 'relative' }}>
        {items.slice(view.from, to).map((item, i) => row(item, view.from + i))}
      </div>
    </div>
  );
}
