export {
  type ExtractedFrame,
  type ExtractOptions,
  extractFrames,
  qscaleOf,
} from './frames.ts'
export { probeVideo, type VideoInfo } from './probe.ts'
