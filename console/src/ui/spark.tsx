// A small line without axes, for the course of a value at a glance.
export function Spark({ values, width = 120, height = 32, label }: { values: (number | null)[]; width?: number; height?: number; label: string }) {
  const known = values.filter((v): v is number => v !== null);
  if (known.length < 2) return <svg class="spark" viewBox={`0 0 ${width} ${height}`} role="img" aria-label={label} />;
  const low = Math.min(...known);
  const span = Math.max(...known) - low || 1;
  const x = (i: number) => ((i / (values.length - 1)) * (width - 2) + 1).toFixed(1);
  const y = (v: number) => (height - 2 - ((v - low) / span) * (height - 4)).toFixed(1);
  let path = '';
  values.forEach((v, i) => { if (v !== null) path += `${path && values[i - 1] !== null ? 'L' : 'M'}${x(i)} ${y(v)}`; });
  return (
    <svg class="spark" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={label}>
      <path d={path} fill="none" vector-effect="non-scaling-stroke" />
    </svg>
  );
}

// Bars are counts over time: each is a column with its text as a title.
export function Bars({ bars, label }: { bars: { key: string; value: number; title: string }[]; label: string }) {
  const most = Math.max(1, ...bars.map((bar) => bar.value));
  const step = 100 / Math.max(1, bars.length);
  return (
    <svg class="bars" viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label={label}>
      {bars.map((bar, i) => {
        const height = bar.value ? Math.max(0.6, (bar.value / most) * 39) : 0;
        return <rect key={bar.key} x={i * step + step * 0.1} width={step * 0.8} y={40 - height} height={height}><title>{bar.title}</title></rect>;
      })}
    </svg>
  );
}
