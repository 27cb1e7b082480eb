/** A worker's module as workers/entry.cts is one, but one that misbehaves where its task bears a mark. */
module.exports = import('./faulty-codec.ts').then(({ default: codec }) => codec)
