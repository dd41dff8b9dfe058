// The icons: strokes on a grid of 24.
const strokes = {
  home: 'M4 11 12 4l8 7v8a1 1 0 0 1-1 1h-4v-6H9v6H5a1 1 0 0 1-1-1z',
  devices: 'M9 9h6v6H9zM6 5h12a1 1 0 0 1 1 1v12a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1zM9 2v3M15 2v3M9 19v3M15 19v3M2 9h3M2 15h3M19 9h3M19 15h3',
  bell: 'M6 10a6 6 0 1 1 12 0c0 5 2 6 2 7H4c0-1 2-2 2-7M10 21h4',
  alarm: 'M12 4 2.5 20h19zM12 10v4.5M12 17.5v.1',
  rule: 'M4 6h9M17 6h3M4 12h3M11 12h9M4 18h11M19 18h1M15 4v4M9 10v4M17 16v4',
  export: 'M12 3v12M7.5 10.5 12 15l4.5-4.5M4 17v3h16v-3',
  import: 'M12 15V3M7.5 7.5 12 3l4.5 4.5M4 17v3h16v-3',
  clock: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7v5l3.5 2',
  people: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7M2.5 20c0-3.6 2.9-6 6.5-6s6.5 2.4 6.5 6M16 4.5a3.5 3.5 0 0 1 0 6.5M18 14.5c2.2.8 3.5 2.8 3.5 5.5',
  user: 'M12 11.5a4 4 0 1 0 0-8 4 4 0 0 0 0 8M4.5 20.5c0-4 3.3-6.5 7.5-6.5s7.5 2.5 7.5 6.5',
  key: 'M7.5 15.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7M11 12h9.5v3.5M16.5 12v2.5',
  gauge: 'M4 18a9 9 0 1 1 16 0M12 14l4-5M12 15.2a1.2 1.2 0 1 0 0-2.4 1.2 1.2 0 0 0 0 2.4',
  list: 'M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01',
  shield: 'M12 3 5 6v5c0 5 3 8 7 10 4-2 7-5 7-10V6zM9 12l2.2 2.2L15.5 10',
  chart: 'M4 4v16h16M8 15l3.5-4.5 3 2.5L20 7',
  compare: 'M4 18 9 9l4 5 7-9M4 13l5 3 4-7 7 6',
  sliders: 'M5 4v7M5 15v5M12 4v3M12 11v9M19 4v9M19 17v3M3 11h4M10 7h4M17 13h4',
  terminal: 'M4 5h16v14H4zM8 10l2.5 2.2L8 14.5M13 15h3.5',
  tag: 'M3.5 11.5V4.5a1 1 0 0 1 1-1h7l9 9-8 8zM8 8h.01',
  settings: 'M12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6M12 2.5v3M12 18.5v3M2.5 12h3M18.5 12h3M5.3 5.3l2.1 2.1M16.6 16.6l2.1 2.1M5.3 18.7l2.1-2.1M16.6 7.4l2.1-2.1',
  search: 'M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13M15.5 15.5 21 21',
  plus: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6 6 18',
  menu: 'M4 7h16M4 12h16M4 17h16',
  check: 'M5 12.5 10 17.5 19.5 7',
  copy: 'M9 9h10v11H9zM5 15V4h10',
  trash: 'M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5',
  edit: 'M4 20l1-4L16 5l3 3L8 19zM14 7l3 3',
  left: 'M15 5l-7 7 7 7',
  right: 'M9 5l7 7-7 7',
  down: 'M5 9l7 7 7-7',
  out: 'M14 4h5a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1h-5M10 8l-4 4 4 4M6 12h9',
  book: 'M12 6c-2-1.5-5-2-8-2v14c3 0 6 .5 8 2 2-1.5 5-2 8-2V4c-3 0-6 .5-8 2M12 6v14',
  refresh: 'M20 11a8 8 0 0 0-14.5-4L3 9.5M3 4.5v5h5M4 13a8 8 0 0 0 14.5 4l2.5-2.5M21 19.5v-5h-5',
  play: 'M7 4.5v15l12-7.5z',
  hook: 'M9 7a3 3 0 1 1 4.5 2.6L11 14M6.5 13A3.5 3.5 0 1 0 10 17h6M16 14a3 3 0 1 1-2 5.2M13 10l3 4',
  send: 'M21 3 10 14M21 3l-7 18-4-7-7-4z',
} as const;

export type IconName = keyof typeof strokes;

export function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={strokes[name]} />
    </svg>
  );
}

export function Mark({ size = 28 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 64 64" aria-hidden="true" class="mark">
      <rect width="64" height="64" rx="15" class="mark-ground" />
      <path d="M14 30 32 14l18 16v18a4 4 0 0 1-4 4H18a4 4 0 0 1-4-4z" class="mark-house" />
      <path d="M32 46c-5.2 0-8.5-3.3-8.5-7.7 0-5.6 5.3-7.4 5.9-13.3 4.1 1.7 5.7 5 5.5 7.9 1.2-.5 2-1.6 2.2-2.9 2.1 1.9 3.4 4.8 3.4 8.1 0 4.6-3.3 7.9-8.5 7.9z" class="mark-ground" />
    </svg>
  );
}
