const { existsSync } = require('node:fs') as typeof import('node:fs')

/** A worker's module that cannot be loaded for as long as a file stands where the variable says. */
if (existsSync(process.env.TEST_FAULTY_START_FILE ?? '')) {
  throw new Error('this module does not load on purpose')
}
module.exports = import('../../workers/codec.ts').then(({ default: codec }) => codec)
