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
import { cutsOf, encoded, joined, noise, outline, pcm16, pieces, settings, sine } from './audio.ts'

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

test('speech is cut in its pauses, at every rate', async () => {
  for (const sampleRate of [...voiceRates, 8_001, 11_025, 44_100, 96_000, 192_000]) {
    const values = Float64Array.from(babble(sampleRate), (value) => value / 32_768)
    const format: SampleFormat = { ...pcm16, sampleRate }
    const cuts = await cutsOf(
      values,
      { mode: 'speech-detection', minSilenceDurationMs: 200 },
      format,
    )
    const text = `${sampleRate} Hz: ${JSON.stringify(cuts)}`
    // Three seconds, each with 600 ms of speech at its beginning.
    assert.equal(cuts.length, 3, text)
    for (const [i, { reason, score, threshold, silence, endSample }] of cuts
      .slice(0, 2)
      .entries()) {
      assert.ok(silence !== null, text)
      assert.deepEqual([reason, threshold], ['speech', 200])
      const samples = silence.endSample - silence.startSample
      assert.equal(endSample, silence.startSample + Math.floor(samples / 2))
      assert.equal(score, Math.round((samples * 1000) / sampleRate))
      const startS = silence.startSample / sampleRate - i
      assert.ok(startS > 0.6 && startS < 0.8, text)
      assert.ok(Math.abs(silence.endSample / sampleRate - i - 1) <= 0.03, text)
    }
    assert.deepEqual(outline(cuts.slice(2)), [[cuts[1]?.endSample, values.length, 'end']])
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
    // At half of the rate an input is two outputs, and each is up to a step of 0.17 off.
    const error = output.map((value, i) =>
      Math.abs(value - 0.5 * Math.sin((2 * Math.PI * 440 * (i + 0.5)) / 16_000)),
    )
    assert.ok(Math.max(...error) < 0.14, `${sampleRate}: ${Math.max(...error)}`)
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
