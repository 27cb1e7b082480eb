import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import type { SampleFormat } from '../../../src/codecs/audio/sample-format.ts'
import { createSegmenter } from '../../../src/codecs/audio/segmenter.ts'
import { findFfmpeg } from '../../../src/codecs/ffmpeg/binary.ts'
import { samplesOf, speechBuffers, speechFormat } from '../../support/data.ts'
import { temporaryFolder } from '../../support/server.ts'
import {
  encoded,
  encodeSegment,
  inChannels,
  joined,
  noise,
  sampleKinds,
  settings,
  sine,
} from './audio.ts'

interface Silence {
  readonly startS: number
  readonly endS: number
}

const run = promisify(execFile)

/**
 * What ffmpeg's silencedetect finds in a WAV file; the end of the audio ends a silence as well.
 */
async function silencesOfFfmpeg(
  t: TestContext,
  wav: Uint8Array,
  thresholdDb: number,
): Promise<Silence[]> {
  const ffmpeg = await findFfmpeg(null)
  assert.ok(ffmpeg !== null)
  const path = join(await temporaryFolder(t), 'audio.wav')
  await writeFile(path, wav)
  const filter = `silencedetect=n=${thresholdDb}dB:d=0.3`
  const { stderr } = await run(ffmpeg.path, [
    ...['-nostdin', '-hide_banner', '-i', path, '-af', filter, '-f', 'null', '-'],
  ])
  const times = (name: string) =>
    [...stderr.matchAll(new RegExp(`silence_${name}: ([-\\d.e]+)`, 'g'))].map(([, s]) => Number(s))
  const ends = times('end')
  return times('start').map((startS, i) => ({ startS, endS: Number(ends[i]) }))
}

/** All silences that are cut in; one at the end of the audio is told of once sound follows it. */
async function silencesOfOurs(
  format: SampleFormat,
  pcm: Uint8Array,
  thresholdDb: number,
): Promise<Silence[]> {
  const segmenter = await createSegmenter(format, { ...settings, silenceThresholdDb: thresholdDb })
  const sound = encoded(format, inChannels(Float64Array.of(0.9), format.channels))
  return [...segmenter.push(pcm), ...segmenter.push(sound)].flatMap(({ silence }) => {
    if (silence === null) return []
    const { startSample, endSample } = silence
    return { startS: startSample / format.sampleRate, endS: endSample / format.sampleRate }
  })
}

function assertSame(found: readonly Silence[], expected: readonly Silence[], withinS: number) {
  const text = JSON.stringify({ found, expected })
  assert.equal(found.length, expected.length, text)
  for (const [i, { startS, endS }] of found.entries()) {
    assert.ok(Math.abs(startS - Number(expected[i]?.startS)) <= withinS, text)
    assert.ok(Math.abs(endS - Number(expected[i]?.endS)) <= withinS, text)
  }
}

test('the silences of speech are those of silencedetect', async (t) => {
  const pcm = Buffer.concat(speechBuffers(t).map((wav) => samplesOf(Buffer.from(wav))))
  const format: SampleFormat = { format: 'pcm', ...speechFormat }
  const { bytes } = encodeSegment(format, [pcm])
  for (const thresholdDb of [-25, -35]) {
    const expected = await silencesOfFfmpeg(t, bytes, thresholdDb)
    if (thresholdDb === -25) assert.ok(expected.length >= 3, `${expected.length} silences`)
    assertSame(await silencesOfOurs(format, pcm, thresholdDb), expected, 0.01)
  }
})

test('the silences of made audio are those of silencedetect in every format', async (t) => {
  const sampleRate = 22_050
  const thresholdDb = -30
  // At the threshold an 8-bit step is a quarter of it: levels lie well to either side.
  const [above, below] = [0.06, 0.015]
  const audio = joined(
    noise(7_000, below, 1),
    sine(9_000, 0.01, 0.4),
    noise(6_614, below, 2),
    noise(9_000, above, 3),
    noise(6_000, below, 4),
    sine(4_000, 0.03, 0.9),
    new Float64Array(20_000),
    noise(5_000, 0.5, 5),
    noise(9_000, below, 6),
  )
  for (const { format, bitDepth } of sampleKinds) {
    for (const channels of [1, 2]) {
      const sampleFormat: SampleFormat = { format, bitDepth, channels, sampleRate }
      const pcm = encoded(sampleFormat, inChannels(audio, channels))
      const { bytes } = encodeSegment(sampleFormat, [pcm])
      const expected = await silencesOfFfmpeg(t, bytes, thresholdDb)
      assert.ok(expected.length >= 4, `${format} ${bitDepth}: ${expected.length}`)
      assertSame(await silencesOfOurs(sampleFormat, pcm, thresholdDb), expected, 0.001)
    }
  }
})
