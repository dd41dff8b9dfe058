// A chart over time, drawn by uPlot: several lines, a band from the least to the greatest value, dragging zooms.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { number, when } from '../format';

export interface Line { label: string; values: (number | null)[]; low?: (number | null)[]; high?: (number | null)[]; bars?: boolean; step?: number }

const light = ['#b8431f', '#2d5d8f', '#1b6e53', '#8a5300', '#5b3fa0', '#a8206c', '#4c6b12', '#0b7285'];
const dark = ['#f0875f', '#8ebbe6', '#6cc7a5', '#e3b062', '#b9a3f5', '#f08cc0', '#b3d36a', '#6fd3e3'];
const scheme = matchMedia('(prefers-color-scheme: dark)');

export const colours = () => (scheme.matches ? dark : light);

export function Plot({ times, lines, from, to, zoom, label, height = 320, raw }: {
  times: number[]; lines: Line[]; from: number; to: number; zoom: (from: number, to: number) => void; label: string; height?: number; raw?: boolean;
}) {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const at = ref.current;
    if (!at) return;
    let plot: uPlot;
    const draw = () => {
      plot?.destroy();
      plot = new uPlot(options(at.clientWidth), data, at);
    };
    const data: uPlot.AlignedData = [times, ...lines.flatMap((line) => (line.low && line.high ? [line.values, line.high, line.low] : [line.values]))];
    const options = (width: number): uPlot.Options => {
      const style = getComputedStyle(document.documentElement);
      const [ink, rule] = [style.getPropertyValue('--soft'), style.getPropertyValue('--line')];
      const palette = colours();
      // Lines that are much smaller than the greatest have an axis of their own, at the right: else they would be flat.
      const sizes = lines.map((line) => line.values.reduce((most: number, v) => Math.max(most, Math.abs(v ?? 0)), 0));
      const small = sizes.map((size) => size > 0 && size * 8 < Math.max(...sizes));
      const labels = lines.map((line, i) => (small[i] ? `${line.label} (right)` : line.label));
      const scale = { range: (_: uPlot, min: number | null, max: number | null) => uPlot.rangeNum(lines.some((line) => line.bars) ? Math.min(0, min ?? 0) : min ?? 0, max ?? 1, 0.1, true) };
      const series: uPlot.Series[] = [{ value: (_, v) => (v === null ? '–' : when(new Date(v * 1000).toISOString())) }];
      const bands: uPlot.Band[] = [];
      // beside puts the bars of several lines next to one another within a step.
      const beside = ({ step }: Line, i: number) => (step && lines.length > 1 ? {
        disp: {
          x0: { unit: 1, values: () => times.map((at) => at + (step * 0.9 * i) / lines.length) },
          size: { unit: 1, values: () => times.map(() => (step * 0.8) / lines.length) },
        },
      } : {});
      lines.forEach((line, i) => {
        const stroke = palette[i % palette.length] as string;
        series.push({
          label: labels[i] ?? '', scale: small[i] ? 'right' : 'y', stroke, width: 1.75, spanGaps: true, points: { show: times.length < 60, size: 4, fill: stroke }, value: (_, v) => number(v),
          ...(line.bars && uPlot.paths.bars && { paths: uPlot.paths.bars({ size: [0.7, 60], align: 1, ...beside(line, i) }), fill: stroke, points: { show: false }, width: 0 }),
          ...(raw && !line.bars && times.length > 60 && { points: { show: false } }),
        });
        if (line.low && line.high) {
          const edge = { scale: small[i] ? 'right' : 'y', stroke: stroke + '55', width: 0.5, points: { show: false }, spanGaps: true, value: (_: uPlot, v: number | null) => number(v) };
          series.push({ ...edge, label: lines.length > 1 ? `${labels[i]} max` : 'max' }, { ...edge, label: lines.length > 1 ? `${labels[i]} min` : 'min' });
          bands.push({ series: [series.length - 2, series.length - 1], fill: stroke + '26' });
        }
      });
      const axis = { stroke: ink, grid: { stroke: rule, width: 1 }, ticks: { stroke: rule, width: 1 }, font: '12px system-ui, sans-serif' };
      const values = { size: (_: uPlot, all: string[] | null) => 18 + 7 * Math.max(5, ...(all ?? []).map((text) => text.length)), values: (_: uPlot, all: number[]) => all.map((v) => number(v)) };
      return {
        width, height, series, bands,
        scales: { x: { min: from / 1000, max: to / 1000, range: (_, min, max) => [min, max] }, y: scale, right: scale },
        axes: [axis, { ...axis, ...values }, ...(small.includes(true) ? [{ ...axis, ...values, scale: 'right', side: 1 as const, grid: { show: false } }] : [])],
        cursor: { drag: { x: true, y: false, uni: 20 }, points: { size: 7 } },
        legend: { live: true },
        hooks: {
          setSelect: [(u) => {
            if (u.select.width < 8) return;
            zoom(u.posToVal(u.select.left, 'x') * 1000, u.posToVal(u.select.left + u.select.width, 'x') * 1000);
          }],
        },
      };
    };
    draw();
    const size = new ResizeObserver(() => { if (Math.abs(at.clientWidth - plot.width) > 1) plot.setSize({ width: at.clientWidth, height }); });
    size.observe(at);
    scheme.addEventListener('change', draw);
    return () => { size.disconnect(); scheme.removeEventListener('change', draw); plot.destroy(); };
  }, [times, lines, from, to, height]);
  return <div class="plot" ref={ref} role="img" aria-label={label} />;
}
