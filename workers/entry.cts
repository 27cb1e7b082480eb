/**
 * What Piscina loads. Piscina calls require() on it, and Node.js dies with a V8 fatal error where a
 * thread is ended while it require()s an ES module; so this is CommonJS, and imports the codec itself.
 * It exports the promise, which Piscina awaits before it takes the thread for ready.
 */
module.exports = import('./codec.ts').then(({ default: codec }) => codec)
