// Numbers, sizes and times as text, in the language and the time zone of the viewer.
import type { Value } from './types';

export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

const whole = new Intl.NumberFormat();
const short = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });
const precise = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 6 });
const figure = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 4 });

export const count = (n: number) => whole.format(n);
export const compact = (n: number) => (Math.abs(n) < 10_000 ? whole.format(n) : short.format(n));
export const rate = (n: number) => (n >= 100 ? whole.format(Math.round(n)) : new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 }).format(n));
export const percent = (share: number) => new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 1 }).format(share);

export function number(n: number | null | undefined): string {
  if (n === null || n === undefined) return '–';
  return n !== 0 && (Math.abs(n) >= 1e12 || Math.abs(n) < 1e-4) ? n.toExponential(3) : figure.format(n);
}

export function value(v: Value | null | undefined): string {
  if (v === null || v === undefined) return '–';
  if (typeof v === 'number') return Math.abs(v) >= 1e12 || (v !== 0 && Math.abs(v) < 1e-4) ? v.toExponential(3) : precise.format(v);
  return typeof v === 'boolean' ? (v ? 'on' : 'off') : v;
}

export function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  for (; n >= 1000 && at < units.length - 1; at++) n /= 1000;
  return `${at === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[at]}`;
}

const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const exactTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const dateOnly = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });
const timeOnly = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });

export const when = (at: string | null | undefined) => (at ? dateTime.format(new Date(at)) : 'never');
export const exactly = (at: string | null | undefined) => (at ? exactTime.format(new Date(at)) : 'never');
export const day = (at: string | null | undefined) => (at ? dateOnly.format(new Date(at)) : 'never');
// utcDay is the day of a time that is known to the day only.
export const utcDay = (at: string) => new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeZone: 'UTC' }).format(new Date(at));
export const clock = (at: string) => timeOnly.format(new Date(at));

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto', style: 'short' });
const steps: [Intl.RelativeTimeFormatUnit, number][] = [['year', 31_557_600], ['month', 2_629_800], ['day', 86_400], ['hour', 3600], ['minute', 60]];

export function ago(at: string | null | undefined, now = Date.now()): string {
  if (!at) return 'never';
  const seconds = (new Date(at).getTime() - now) / 1000;
  for (const [unit, size] of steps) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return Math.abs(seconds) < 5 ? 'now' : relative.format(Math.trunc(seconds), 'second');
}

export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min${seconds % 60 >= 1 && seconds < 600 ? ` ${Math.round(seconds % 60)} s` : ''}`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

export const words = (name: string) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll('_', ' ');
export const plural = (n: number, one: string, many = one + 's') => `${count(n)} ${n === 1 ? one : many}`;

// device programs are named by what users know of them.
export function program(agent: string): string {
  const browser = /(Edg|OPR|Firefox|Chrome|Safari|curl)\/?([\d]*)/.exec(agent.replace(/Chrome(?=.*(Edg|OPR))/, ''));
  const system = /Android|iPhone|iPad|Windows|Mac OS X|Linux/.exec(agent)?.[0];
  const names: Record<string, string> = { Edg: 'Edge', OPR: 'Opera', 'Mac OS X': 'macOS' };
  if (!browser) return agent || 'Unknown program';
  return [names[browser[1] ?? ''] ?? browser[1], system && `on ${names[system] ?? system}`].filter(Boolean).join(' ');
}
