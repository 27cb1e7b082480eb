import assert from 'node:assert/strict'
import { test } from 'node:test'
import load from '@echogarden/fvad-wasm'
import { Resampler } from '../../../src/codecs/audio/resampler.ts'
import type { SampleFormat } from '../../../src/codecs/audio/sample-format.ts'
import { createSegmenter } from '../../../src/codecs/audio/segmenter.ts'
import {
  loadVoiceDetector,
  VoiceDetector,
  voiceRates,
} from '../../../src/codecs/audio/voice-detector.ts'
import { samplesOf, speechBuffers } from '../../support/data.ts'
import { encoded, joined, noise, outline, pcm16, pieces, settings, sine } from './audio.ts'

/** Bursts with the harmonics of a voice over a little noise, as 16 bits. */
function babble(sampleRate: number): Int16Array {
  const hiss = noise(3 * sampleRate, 0.002, 4)
  return Int16Array.from(hiss, (value, i) => {
    const timeS = i / sampleRate
    if (timeS % 1 > 0.6) return Math.round(value * 32_768)
    let sum = 0
    for (let k = 1; k <= 20; k++) sum += Math.sin(2 * Math.PI * 140 * k * timeS) / k
    const loudness = 0.25 * (1 + 0.8 * Math.sin(2 * Math.PI * 5 * timeS))
    return Math.round((value + sum * loudness * 0.4) * 32_768)
  })
}

function framesOf(samples: Int16Array, sampleRate: number): Int16Array[] {
  const length = sampleRate / 50
  return Array.from({ length: Math.floor(samples.length / length) }, (_, i) =>
    samples.subarray(i * length, (i + 1) * length),
  )
}

test('a voice detector goes on in another wasm memory as if nothing had been', async () => {
  const here = await loadVoiceDetector()
  for (const sampleRate of voiceRates) {
    const frames = framesOf(babble(sampleRate), sampleRate)
    const states = [0, 1, 2, 3].map((mode) => here.begin(sampleRate, mode))
    const undisturbed = states.map((state) => frames.map((frame) => here.isSpeech(state, frame)))
    assert.ok(undisturbed.every((one) => one.includes(true) && one.includes(false)))
    // All four take turns in one instance, and move to another one half way.
    const elsewhere = new VoiceDetector(await load())
    const again = [0, 1, 2, 3].map((mode) => here.begin(sampleRate, mode))
    for (const [i, frame] of frames.entries()) {
      const detector = i < 70 ? here : elsewhere
      for (const [mode, state] of again.entries()) {
        assert.equal(detector.isSpeech(state, frame), undisturbed[mode]?.[i])
      }
    }
    assert.deepEqual(again, states)
  }
})

test('the bytes that are kept of a voice detector are all that it changes', async () => {
  const fvad = await load()
  const detector = new VoiceDetector(fvad)
  const state = detector.begin(48_000, 3)
  const before = fvad.HEAPU8.slice()
  for (const frame of framesOf(babble(48_000), 48_000)) detector.isSpeech(state, frame)
  const changed: number[] = []
  for (const [at, byte] of fvad.HEAPU8.entries()) if (byte !== before[at]) changed.push(at)
  const start = fvad.HEAPU8.length === 0 ? 0 : Buffer.from(fvad.HEAPU8).indexOf(state)
  // Beside the struct only the frame that is handed over and the stack, which lies below the heap.
  const frameStart = start + state.byteLength
  const others = changed.filter((at) => at >= start && (at < start || at >= frameStart))
  assert.ok(start > 0)
  assert.ok(others.every((at) => at < frameStart + 64 + 2 * 960))
})

test('speech is cut in its pauses, at every rate', async (t) => {
  const speech = Buffer.concat(speechBuffers(t).map((wav) => samplesOf(Buffer.from(wav))))
  const values = Float64Array.from(
    { length: speech.length / 2 },
    (_, i) => speech.readInt16LE(2 * i) / 32_768,
  )
  const durationS = values.length / 16_000
  const found: number[][] = []
  for (const sampleRate of [16_000, 8_000, 32_000, 48_000, 11_025, 44_100, 96_000]) {
    const resampled = Float64Array.from({ length: Math.floor(durationS * sampleRate) }, (_, i) =>
      Number(values[Math.floor((i * 16_000) / sampleRate)]),
    )
    const format: SampleFormat = { ...pcm16, sampleRate, channels: 1 }
    const segmenter = await createSegmenter(format, { ...settings, mode: 'speech-detection' })
    const cuts = [...segmenter.push(encoded(format, resampled)), ...segmenter.end('end')]
    assert.equal(cuts.at(-1)?.endSample, resampled.length)
    for (const { score, threshold, silence, endSample } of cuts.slice(0, -1)) {
      assert.ok(silence !== null && score !== null)
      assert.ok(score >= 300 && threshold === 300)
      const samples = silence.endSample - silence.startSample
      assert.equal(score, Math.round((samples * 1000) / sampleRate))
      assert.equal(endSample, silence.startSample + Math.floor(samples / 2))
    }
    found.push(cuts.slice(0, -1).map(({ endSample }) => endSample / sampleRate))
  }
  const [expected = [], ...others] = found
  assert.ok(expected.length >= 2, JSON.stringify(found))
  // The detector hears a bit more or less at another rate, but the same pauses.
  for (const cuts of others) {
    assert.equal(cuts.length, expected.length, JSON.stringify(found))
    for (const [i, cutS] of cuts.entries()) {
      assert.ok(Math.abs(cutS - Number(expected[i])) < 0.15, JSON.stringify(found))
    }
  }
})

test('silence before the first word is no pause, and a click does not end one', async () => {
  const voice = Float64Array.from(babble(16_000).subarray(0, 8_000), (value) => value / 32_768)
  const click = sine(160, 0.1, 0.7)
  const quiet = (samples: number, seed: number) => noise(samples, 0.0005, seed)
  const audio = joined(
    quiet(16_000, 1),
    voice,
    quiet(12_000, 2),
    click,
    quiet(12_000, 3),
    voice,
    quiet(16_000, 4),
  )
  const segmenter = await createSegmenter(pcm16, { ...settings, mode: 'speech-detection' })
  const cuts = [...segmenter.push(encoded(pcm16, audio)), ...segmenter.end('end')]
  assert.equal(cuts.length, 2, JSON.stringify(cuts))
  const pause = cuts[0]?.silence
  assert.ok(pause !== null && pause !== undefined)
  assert.ok(pause.startSample >= 24_000 && pause.startSample < 30_000, JSON.stringify(pause))
  assert.ok(Math.abs(pause.endSample - 48_160) <= 640, JSON.stringify(pause))
  assert.deepEqual(
    outline(cuts).map(([, , reason]) => reason),
    ['speech', 'end'],
  )
})

test('resampling keeps time and level, wherever its input is divided', () => {
  for (const sampleRate of [8_001, 11_025, 16_001, 44_100, 192_000]) {
    const input = sine(sampleRate, 440 / sampleRate, 0.5)
    const output: number[] = []
    const out = new Float64Array(Resampler.outputsMax)
    const resampler = new Resampler(sampleRate, null)
    for (const value of input) {
      const count = resampler.push(value, out)
      assert.ok(count <= Resampler.outputsMax)
      output.push(...out.subarray(0, count))
    }
    assert.equal(output.length, 16_000)
    // Where the middle of the output lies in time.
    const error = output.map((value, i) =>
      Math.abs(value - 0.5 * Math.sin((2 * Math.PI * 440 * (i + 0.5)) / 16_000)),
    )
    assert.ok(Math.max(...error) < 0.1, `${sampleRate}: ${Math.max(...error)}`)
  }
})

test('speech that comes sample by sample is cut as in one piece', async (t) => {
  const speech = Buffer.concat(speechBuffers(t).map((wav) => samplesOf(Buffer.from(wav))))
  for (const sampleRate of [16_000, 22_050]) {
    const format = { ...pcm16, sampleRate }
    const options = { ...settings, mode: 'speech-detection' } as const
    const whole = await createSegmenter(format, options)
    const expected = [...whole.push(speech), ...whole.end('end')]
    assert.ok(expected.length > 1)
    const single = await createSegmenter(format, options)
    const found = pieces(speech, format, [1]).flatMap((piece) => single.push(piece))
    assert.deepEqual([...found, ...single.end('end')], expected)
  }
})
