// The parts that views are made of.
import type { ButtonHTMLAttributes, ComponentChildren, PartialInputHTMLAttributes, TextareaHTMLAttributes } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { signal } from '@preact/signals';
import { asProblem, type Problem } from '../api';
import type { Loaded } from '../load';
import { ago, exactly } from '../format';
import { Icon, type IconName } from './icons';

// Page is a view: its title is the document's, and gets the focus when the view opens.
export function Page({ title, lead, actions, back, children, wide }: {
  title: string; lead?: ComponentChildren; actions?: ComponentChildren; back?: { href: string; text: string }; children: ComponentChildren; wide?: boolean;
}) {
  useEffect(() => { document.title = title ? `${title} · hearth` : 'hearth'; }, [title]);
  return (
    <div class={wide ? 'page wide' : 'page'}>
      {back && <a class="back" href={back.href}><Icon name="left" size={16} />{back.text}</a>}
      <header class="page-head">
        <div class="page-title">
          <h1 tabIndex={-1}>{title}</h1>
          {lead && <div class="lead">{lead}</div>}
        </div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

type ButtonProps = ButtonHTMLAttributes & {
  look?: 'main' | 'quiet' | 'bad' | 'plain'; icon?: IconName; busy?: boolean; type?: 'button' | 'submit'; disabled?: boolean;
};

// Button that is busy keeps the focus: useAction ignores what is pressed meanwhile.
export function Button({ look = 'quiet', icon, busy, children, disabled, type = 'button', class: extra, ...rest }: ButtonProps) {
  return (
    <button type={type} class={`button ${look} ${typeof extra === 'string' ? extra : ''}`} disabled={disabled} aria-busy={busy} {...rest}>
      {icon && <Icon name={icon} size={18} />}
      {children && <span>{children}</span>}
    </button>
  );
}

// IconButton shows only its icon; what it does is its label.
export function IconButton({ icon, label, ...rest }: ButtonHTMLAttributes & { icon: IconName; label: string; disabled?: boolean }) {
  return <button type="button" class="icon-button" aria-label={label} title={label} {...rest}><Icon name={icon} /></button>;
}

export function LinkButton({ look = 'quiet', icon, href, children }: { look?: string; icon?: IconName; href: string; children: ComponentChildren }) {
  return <a class={`button ${look}`} href={href}>{icon && <Icon name={icon} size={18} />}<span>{children}</span></a>;
}

type InputProps = PartialInputHTMLAttributes<HTMLInputElement> & { list?: string };

export function Field({ label, hint, error, children, ...input }: InputProps & { label: string; hint?: ComponentChildren; error?: string | undefined; children?: ComponentChildren }) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(' ');
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children ?? <input id={id} aria-describedby={described || undefined} aria-invalid={error ? true : undefined} {...(input as object)} />}
      {hint && <small id={`${id}-hint`}>{hint}</small>}
      {error && <small id={`${id}-error`} class="bad">{error}</small>}
    </div>
  );
}

export function Select<T extends string>({ label, options, value, onPick, hidden, hint }: {
  label: string; options: readonly (readonly [T, string])[]; value: T; onPick: (value: T) => void; hidden?: boolean; hint?: string;
}) {
  const id = useId();
  return (
    <div class={hidden ? 'select' : 'field'}>
      <label for={id} class={hidden ? 'unseen' : undefined}>{label}</label>
      <select id={id} value={value} onChange={(e) => onPick(e.currentTarget.value as T)}>
        {options.map(([key, text]) => <option key={key} value={key}>{text}</option>)}
      </select>
      {hint && <small>{hint}</small>}
    </div>
  );
}

export function TextArea({ label, hint, error, ...rest }: TextareaHTMLAttributes & { label: string; hint?: string; error?: string | undefined }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <textarea id={id} spellcheck={false} aria-invalid={error ? true : undefined} {...rest} />
      {hint && <small>{hint}</small>}
      {error && <small class="bad">{error}</small>}
    </div>
  );
}

export function Check({ label, hint, ...rest }: InputProps & { label: ComponentChildren; hint?: string }) {
  return <label class="check"><input {...(rest as object)} type="checkbox" /><span>{label}{hint && <small>{hint}</small>}</span></label>;
}

// useAction runs something that the user asked for: once at a time, with its failure.
export function useAction(work: (...args: never[]) => Promise<unknown>): { run: (...args: unknown[]) => void; busy: boolean; problem: Problem | undefined; clear: () => void } {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const under = useRef(false);
  return {
    busy, problem, clear: () => setProblem(undefined),
    run: (...args) => {
      if (under.current) return;
      under.current = true;
      setBusy(true);
      setProblem(undefined);
      (work as (...args: unknown[]) => Promise<unknown>)(...args).catch((e: unknown) => {
        if (!(e instanceof DOMException && e.name === 'AbortError')) setProblem(asProblem(e));
      }).finally(() => { under.current = false; setBusy(false); });
    },
  };
}

// Form sends what its fields hold, by their names.
export function Form({ children, submit, send, look = 'main', aside, onFields }: {
  children: (problem: Problem | undefined) => ComponentChildren; submit: string; send: (fields: Record<string, string>) => Promise<unknown>;
  look?: 'main' | 'bad'; aside?: ComponentChildren; onFields?: () => void;
}) {
  const action = useAction((fields: Record<string, string>) => send(fields));
  return (
    <form
      class="form" noValidate={false} onInput={onFields}
      onSubmit={(e) => { e.preventDefault(); action.run(Object.fromEntries(new FormData(e.currentTarget)) as Record<string, string>); }}
    >
      {children(action.problem)}
      <Wrong problem={action.problem} />
      <div class="form-foot"><Button type="submit" look={look} busy={action.busy}>{submit}</Button>{aside}</div>
    </form>
  );
}

export function Wrong({ problem }: { problem: Problem | undefined }) {
  return <div role="alert" class="wrong-slot">{problem && <p class="wrong"><Icon name="alarm" size={18} />{problem.message}</p>}</div>;
}

// Dialog is modal while it is there; the browser keeps the focus in it. Afterwards the focus is where it was, or on the view's heading.
export function Dialog({ title, close, children, wide, fixed }: { title: string; close: () => void; children: ComponentChildren; wide?: boolean; fixed?: boolean }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog || dialog.open) return;
    const before = document.activeElement as HTMLElement | null;
    dialog.showModal();
    dialog.querySelector<HTMLElement>('[autofocus], .dialog-body :is(input, select, textarea, button):not([type=hidden], [readonly])')?.focus();
    return () => {
      dialog.close();
      before?.focus({ preventScroll: true });
      // What opened it may be gone by now, such as a row that was deleted.
      setTimeout(() => { if (document.activeElement === document.body) document.querySelector<HTMLElement>('main h1')?.focus({ preventScroll: true }); });
    };
  }, []);
  return (
    <dialog ref={ref} class={wide ? 'dialog wide' : 'dialog'} aria-labelledby={id} onCancel={(e) => { e.preventDefault(); if (!fixed) close(); }}>
      <header><h2 id={id}>{title}</h2>{!fixed && <IconButton icon="close" label="Close" onClick={close} />}</header>
      <div class="dialog-body">{children}</div>
    </dialog>
  );
}

// Confirm asks before something is done that cannot be undone.
export function Confirm({ title, text, button, act, close, typed }: {
  title: string; text: ComponentChildren; button: string; act: () => Promise<unknown>; close: () => void; typed?: string;
}) {
  const [given, setGiven] = useState('');
  const action = useAction(async () => { await act(); close(); });
  return (
    <Dialog title={title} close={close}>
      <div>{text}</div>
      {typed && <Field label={`Type ${typed} to confirm`} value={given} onInput={(e) => setGiven(e.currentTarget.value)} autocomplete="off" />}
      <Wrong problem={action.problem} />
      <div class="form-foot">
        <Button look="bad" busy={action.busy} disabled={typed !== undefined && given !== typed} onClick={() => action.run()}>{button}</Button>
        <Button onClick={close}>Cancel</Button>
      </div>
    </Dialog>
  );
}

export const toasts = signal<{ id: number; text: string; icon: IconName }[]>([]);
let nextToast = 0;

export function toast(text: string, icon: IconName = 'check') {
  const id = nextToast++;
  toasts.value = [...toasts.value.slice(-2), { id, text, icon }];
  setTimeout(() => { toasts.value = toasts.value.filter((one) => one.id !== id); }, 5000);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map(({ id, text, icon }) => <div key={id} class="toast"><Icon name={icon} size={18} />{text}</div>)}
    </div>
  );
}

// Show shows what was loaded, or why it is not there.
export function Show<T>({ from, children, rows = 3 }: { from: Loaded<T>; children: (data: T) => ComponentChildren; rows?: number }) {
  if (from.data !== undefined) return <>{from.error && from.error.status !== 0 && <Wrong problem={from.error} />}{children(from.data)}</>;
  if (from.error && from.error.status !== 0) return <Failed problem={from.error} again={from.reload} />;
  return <Skeleton rows={rows} />;
}

export function Failed({ problem, again }: { problem: Problem; again: () => void }) {
  const missing = problem.status === 404;
  return (
    <Empty icon={missing ? 'search' : 'alarm'} title={missing ? 'Not found' : 'That did not work'} action={missing ? undefined : <Button icon="refresh" onClick={again}>Try again</Button>}>
      {missing ? 'It does not exist, or you may not see it.' : problem.message}
    </Empty>
  );
}

export function Skeleton({ rows = 3 }: { rows?: number }) {
  return <div class="skeleton" role="status" aria-label="Loading">{Array.from({ length: rows }, (_, i) => <span key={i} />)}</div>;
}

export function Empty({ icon = 'list', title, children, action }: { icon?: IconName; title: string; children?: ComponentChildren; action?: ComponentChildren }) {
  return (
    <div class="empty">
      <span class="empty-icon"><Icon name={icon} size={26} /></span>
      <h2>{title}</h2>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}

export function Card({ title, actions, children, flush, class: extra = '' }: { title?: ComponentChildren; actions?: ComponentChildren; children: ComponentChildren; flush?: boolean; class?: string }) {
  return (
    <section class={`card ${flush ? 'flush' : ''} ${extra}`}>
      {(title || actions) && <header class="card-head">{title && <h2>{title}</h2>}{actions && <div class="actions">{actions}</div>}</header>}
      {children}
    </section>
  );
}

export type Tone = 'good' | 'bad' | 'warn' | 'info' | 'soft';

export function Badge({ tone = 'soft', children }: { tone?: Tone; children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

// ticking is a clock that relative times follow.
export const ticking = signal(Date.now());
setInterval(() => { if (!document.hidden) ticking.value = Date.now(); }, 10_000);

export function Ago({ at }: { at: string | null | undefined }) {
  if (!at) return <span class="soft">never</span>;
  const time = Date.parse(at);
  const ahead = time > Date.now() + 1000; // what has just happened is not in the future of a clock that ticks slowly
  return <time dateTime={at} title={exactly(at)}>{ago(at, ahead ? Date.now() : Math.max(ticking.value, time))}</time>;
}

export function CopyButton({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await copyText(text);
    setDone(true);
    setTimeout(() => setDone(false), 2000);
  };
  return <Button icon={done ? 'check' : 'copy'} onClick={() => void copy()} aria-live="polite">{done ? 'Copied' : label}</Button>;
}

// copyText works over plain HTTP too, where browsers have no clipboard API.
async function copyText(text: string) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement('textarea');
  area.value = text;
  (document.querySelector('dialog[open]') ?? document.body).append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}

export function Code({ text, label }: { text: string; label: string }) {
  return <div class="code"><pre tabIndex={0} aria-label={label}>{text}</pre><CopyButton text={text} /></div>;
}

// Tabs are links, so that each is an address.
export function Tabs({ label, tabs, now }: { label: string; tabs: { href: string; text: string; count?: number }[]; now: string }) {
  const ref = useRef<HTMLElement>(null);
  useEffect(() => ref.current?.querySelector('[aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' }), [now]);
  return (
    <nav class="tabs" aria-label={label} ref={ref}>
      {tabs.map((tab) => <a key={tab.href} href={tab.href} aria-current={tab.href === now ? 'page' : undefined}>{tab.text}{tab.count ? <span class="pill">{tab.count}</span> : null}</a>)}
    </nav>
  );
}

// Choice picks one of a few.
export function Choice({ label, options, value, onPick }: { label: string; options: readonly (readonly [string, string])[]; value: string; onPick: (value: string) => void }) {
  return (
    <div class="choice" role="group" aria-label={label}>
      {options.map(([key, text]) => <button type="button" key={key} aria-pressed={key === value} onClick={() => onPick(key)}>{text}</button>)}
    </div>
  );
}

export function Facts({ facts }: { facts: readonly (readonly [string, ComponentChildren])[] }) {
  return <dl class="facts">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}

// Scroll holds a table that may be wider than its place; the keyboard scrolls it too.
export function Scroll({ label, children }: { label: string; children: ComponentChildren }) {
  return <div class="scroll" tabIndex={0} role="region" aria-label={label}>{children}</div>;
}

export function Progress({ value, label }: { value: number; label: string }) {
  return <progress max={100} value={value} aria-label={label} />;
}

// More reads further rows when it is scrolled into view; the button is for those who do not scroll.
export function More({ more }: { more: (() => void) | null }) {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const at = ref.current;
    if (!at || !more) return;
    const seen = new IntersectionObserver((entries) => { if (entries.some((e) => e.isIntersecting)) more(); }, { rootMargin: '600px' });
    seen.observe(at);
    return () => seen.disconnect();
  }, [more]);
  return more ? <div class="more" ref={ref}><Button onClick={more}>Show more</Button></div> : null;
}
