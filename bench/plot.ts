import * as echarts from 'echarts'
import { type GrowthDimension, growthDimensions, growthOrder } from './growth-rows.ts'
import type { Machine } from './machine.ts'
import type { BenchReport, RowOutcome } from './report.ts'

const width = 1_040
const height = 780
const margin = { top: 128, bottom: 56, left: 84, right: 72 }
const gap = { x: 176, y: 104 }

// A ground of its own keeps the picture legible on a dark page too. Both colours reach a contrast
// of 4.5 on it, and differ in dash and marker for those who do not tell them apart.
const ground = '#ffffff'
const ink = '#24292f'
const faint = '#57606a'
const lines = '#d8dee4'
export const rate = {
  name: 'records/s',
  color: '#0550ae',
  symbol: 'circle',
  dash: 'solid',
} as const
export const latency = {
  name: 'p99 ms',
  color: '#bc4c00',
  symbol: 'diamond',
  dash: 'dashed',
} as const

const GB = 1e9

/** How its axis is drawn: points that rise by a factor stand evenly on a log axis. */
const axes: Readonly<Record<GrowthDimension, { logBase: number | null; scale: number }>> = {
  batch: { logBase: 10, scale: 1 },
  connections: { logBase: 4, scale: 1 },
  sessions: { logBase: 10, scale: 1 },
  store: { logBase: null, scale: GB },
}

/**
 * How cost grows, as an SVG of four panels: records a second on the left axis, p99 on the right.
 * The same report always gives the same bytes. Throws where the report has no figure to draw.
 */
export function plotGrowth(report: BenchReport): string {
  const points = report.rows.filter(({ growth, measured }) => growth && measured !== null)
  if (points.length === 0) throw new Error('the report has no figures on how cost grows')
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height })
  try {
    chart.setOption({
      animation: false,
      backgroundColor: ground,
      textStyle: { fontFamily: 'system-ui, sans-serif', color: ink },
      title: [heading(report), ...growthOrder.map(panelTitle)],
      legend: legend(),
      grid: growthOrder.map((_, panel) => place(panel)),
      xAxis: growthOrder.map((dimension, panel) => xAxis(dimension, panel)),
      yAxis: growthOrder.flatMap((dimension, panel) => yAxes(dimension, panel)),
      series: growthOrder.flatMap((dimension, panel) =>
        series(
          dimension,
          points.filter(({ growth }) => growth?.dimension === dimension),
          panel,
        ),
      ),
    })
    return `${withoutCounts(chart.renderToSVGString())}\n`
  } finally {
    chart.dispose()
  }
}

/**
 * echarts counts names up through a process: those of clipping paths become the same for each
 * plot, and those of the styles for a pointer go, because no pointer ever meets a picture.
 */
function withoutCounts(svg: string): string {
  return svg
    .replace(/ class="zr[\w-]+"/g, '')
    .replace(/<style[\s\S]*?<\/style>\s*/g, '')
    .replace(/\bzr\d+-c/g, 'clip-')
}

function heading({ machine, quick }: BenchReport): echarts.TitleComponentOption {
  return {
    text: `How cost grows: telemetry as JSON, every reply durable${quick ? ' (quick run)' : ''}`,
    subtext: `${machine.date.slice(0, 10)}, commit ${commitOf(machine)}\n${machineText(machine)}`,
    left: 24,
    top: 12,
    textStyle: { fontSize: 18, color: ink },
    subtextStyle: { fontSize: 12, color: faint, lineHeight: 16 },
  }
}

function commitOf({ commit }: Machine): string {
  if (commit === null) return 'unknown'
  return `${commit.slice(0, 10)}${commit.endsWith('+') ? ' with changes' : ''}`
}

function machineText({ cpu, cores, memoryBytes, kernel, fileSystem, node }: Machine): string {
  const memory = `${Math.round(memoryBytes / 2 ** 30)} GiB`
  const processors = `${cpu}, ${cores} cores with the load generator`
  return `${processors}, ${memory}, ${kernel}, ${fileSystem}, Node ${node}`
}

interface Place {
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
}

/** Where the axes of a panel enclose its lines. */
export function place(panel: number): Place {
  const panelWidth = (width - margin.left - margin.right - gap.x) / 2
  const panelHeight = (height - margin.top - margin.bottom - gap.y) / 2
  return {
    left: margin.left + (panel % 2) * (panelWidth + gap.x),
    top: margin.top + Math.floor(panel / 2) * (panelHeight + gap.y),
    width: panelWidth,
    height: panelHeight,
  }
}

function panelTitle(dimension: GrowthDimension, panel: number): echarts.TitleComponentOption {
  const { left, top } = place(panel)
  return {
    text: growthDimensions[dimension].caption,
    left: left - 5,
    top: top - 38,
    textStyle: { fontSize: 13, fontWeight: 'normal', color: ink },
  }
}

function legend(): echarts.LegendComponentOption {
  return {
    data: [rate.name, latency.name],
    right: 24,
    top: 16,
    itemWidth: 40,
    itemGap: 24,
    textStyle: { color: ink, fontSize: 12 },
  }
}

function xAxis(dimension: GrowthDimension, panel: number): echarts.XAXisComponentOption {
  const { logBase } = axes[dimension]
  const common = {
    gridIndex: panel,
    name: growthDimensions[dimension].axis,
    nameLocation: 'middle',
    nameGap: 26,
    nameTextStyle: { color: faint },
    axisLabel: { color: ink, formatter: (value: number) => value.toLocaleString('en') },
    axisLine: { lineStyle: { color: faint } },
    splitLine: { show: false },
  } as const
  return logBase === null
    ? { ...common, type: 'value', interval: 1 }
    : { ...common, type: 'log', logBase }
}

function yAxes(dimension: GrowthDimension, panel: number): echarts.YAXisComponentOption[] {
  // Batches of 10,000 take hundreds of times the records of single ones.
  const type = dimension === 'batch' ? 'log' : 'value'
  const side = (line: typeof rate | typeof latency): echarts.YAXisComponentOption => ({
    type,
    gridIndex: panel,
    name: line.name,
    position: line === rate ? 'left' : 'right',
    nameTextStyle: { color: line.color, align: line === rate ? 'right' : 'left' },
    nameGap: 8,
    axisLabel: { color: line.color, formatter: shortNumber },
    splitLine: { show: line === rate, lineStyle: { color: lines } },
    splitNumber: 4,
  })
  return [side(rate), side(latency)]
}

/** 2,500,000 as 2.5 M. */
function shortNumber(value: number): string {
  if (value >= 1e6) return `${value / 1e6} M`
  return value >= 1e3 ? `${value / 1e3} k` : String(value)
}

function series(
  dimension: GrowthDimension,
  rows: readonly RowOutcome[],
  panel: number,
): echarts.LineSeriesOption[] {
  const { scale } = axes[dimension]
  const line = (
    { name, color, symbol, dash }: typeof rate | typeof latency,
    axis: number,
    pick: (row: RowOutcome) => number | null,
  ): echarts.LineSeriesOption => ({
    type: 'line',
    name,
    xAxisIndex: panel,
    yAxisIndex: panel * 2 + axis,
    data: rows.map((row) => [(row.growth?.value ?? 0) / scale, pick(row)]),
    symbol,
    symbolSize: 8,
    color,
    lineStyle: { width: 2, type: dash, color },
    silent: true,
  })
  return [line(rate, 0, (row) => row.measured), line(latency, 1, (row) => row.p99Ms)]
}
