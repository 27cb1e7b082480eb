import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseOptions } from '../../bench/options.ts'

test('without arguments all rows run and nothing is compared or drawn', () => {
  assert.deepEqual(parseOptions([]), {
    help: false,
    quick: false,
    only: null,
    json: null,
    dir: null,
    compare: null,
    with: null,
    plot: null,
  })
})

test('a run is compared with an older report, and two reports with each other', () => {
  const run = parseOptions(['--only', 'growth', '--compare', 'old.json'])
  assert.deepEqual([run.only, run.compare, run.with], ['growth', 'old.json', null])
  const files = parseOptions(['--compare=old.json', '--with=new.json'])
  assert.deepEqual([files.compare, files.with], ['old.json', 'new.json'])
  assert.equal(parseOptions(['--plot', 'latest.json']).plot, 'latest.json')
})

test('what cannot be meant is refused with the name of the argument', () => {
  const cases: [string[], RegExp][] = [
    [['--fast'], /--fast/],
    [['growth'], /growth/],
    [['--only'], /--only/],
    [['--only', ''], /--only needs a value/],
    [['--compare='], /--compare needs a value/],
    [['--with', 'new.json'], /--with needs --compare OLD/],
    [['--compare', 'a', '--with', 'b', '--quick'], /--with runs nothing.*--quick/],
    [['--compare', 'a', '--with', 'b', '--json', 'c'], /--with runs nothing.*--json/],
    [['--plot', 'a', '--only', 'growth'], /--plot runs nothing.*--only/],
    [['--plot', 'a', '--compare', 'b'], /--plot runs nothing.*--compare/],
  ]
  for (const [args, message] of cases) assert.throws(() => parseOptions(args), message)
})
