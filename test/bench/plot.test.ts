import assert from 'node:assert/strict'
import { test } from 'node:test'
import sharp from 'sharp'
import { growthOrder, growthRows } from '../../bench/growth-rows.ts'
import { latency, place, plotGrowth, rate } from '../../bench/plot.ts'
import { benchReport } from '../support/bench-report.ts'

/** Every point measured: the rate rises from row to row, and so does the latency. */
const rows = growthRows(false).map(({ id, point }, index) => ({
  id,
  growth: point,
  measured: 1_000 * (index + 1),
  p99Ms: 2 * (index + 1),
}))

/** Markers are filled with their colour; a panel without any line has not one pixel of it. */
const markerPixels = 20

/** Pixels of exactly that colour within the axes of each panel, where no text stands. */
async function pixelsByPanel(svg: string, color: string): Promise<number[]> {
  const rgb = [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16))
  return Promise.all(
    growthOrder.map(async (_, panel) => {
      const { data, info } = await sharp(Buffer.from(svg))
        .extract(place(panel))
        .removeAlpha()
        .raw()
        .toBuffer({ resolveWithObject: true })
      assert.equal(info.channels, 3)
      let count = 0
      for (let at = 0; at < data.length; at += 3) {
        if (rgb.every((value, channel) => data[at + channel] === value)) count++
      }
      return count
    }),
  )
}

test('a plot draws both lines in every panel on a ground of its own', async () => {
  const svg = plotGrowth(benchReport(rows))
  for (const { color } of [rate, latency]) {
    for (const pixels of await pixelsByPanel(svg, color)) assert(pixels > markerPixels, `${pixels}`)
  }
  const { data } = await sharp(Buffer.from(svg)).raw().toBuffer({ resolveWithObject: true })
  assert.deepEqual([...data.subarray(0, 4)], [255, 255, 255, 255])
})

test('a plot names its date, commit and machine', () => {
  const svg = plotGrowth(benchReport(rows))
  assert.match(svg, /2025-01-20, commit 0123456789</)
  assert.match(svg, /Some CPU, 2 cores/)
})

test('what was not measured is left out, and a report without any of it is refused', async () => {
  const some = rows.filter(({ growth }) => growth.dimension !== 'store')
  const svg = plotGrowth(
    benchReport(some.map((row) => (row.growth.value === 1 ? { ...row, measured: null } : row))),
  )
  const pixels = await pixelsByPanel(svg, rate.color)
  assert.deepEqual(
    pixels.map((count) => count > markerPixels),
    [true, true, true, false],
  )
  assert.throws(() => plotGrowth(benchReport([])), /no figures on how cost grows/)
})

test('the same report gives the same bytes', () => {
  const report = benchReport(rows)
  assert.equal(plotGrowth(report), plotGrowth(report))
})
