/** What of the package is used; it brings no types. Emscripten's names. */
declare module '@echogarden/fvad-wasm' {
  export interface FvadModule {
    readonly HEAPU8: Uint8Array<ArrayBuffer>
    _malloc(bytes: number): number
    _fvad_new(): number
    _fvad_reset(instance: number): void
    /** 0, or -1 where the mode is none. */
    _fvad_set_mode(instance: number, mode: number): number
    /** 0, or -1 where the rate is none of 8,000, 16,000, 32,000 and 48,000. */
    _fvad_set_sample_rate(instance: number, sampleRate: number): number
    /** 1 speech, 0 none, -1 where the frame is none of 10, 20 or 30 ms. */
    _fvad_process(instance: number, frame: number, samples: number): number
  }
  const load: () => Promise<FvadModule>
  export default load
}
