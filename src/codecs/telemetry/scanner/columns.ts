import { ColumnBuilder } from '../column-builder.ts'
import type { ScannerInstance } from './module.ts'

/** Words of a column in `assembly/columns.ts`. */
const columnWords = 16

/** Column `index` of what was scanned last: views, which hold until the next scan. */
export function readColumn(scanner: ScannerInstance, index: number): ColumnBuilder {
  const { words } = scanner
  const at = scanner.columnsAt / 4 + index * columnWords
  const word = (offset: number) => words[at + offset] as number
  const column = new ColumnBuilder(scanner.names[word(0)] as string)
  const { buffer } = words
  column.entries = word(1)
  column.numberCount = word(5)
  if (column.numberCount > 0) column.numbers = new Float64Array(buffer, word(4), column.numberCount)
  if (word(2) === 0) return column
  column.tags = new Uint8Array(buffer, word(2), column.entries)
  column.rows = new Uint32Array(buffer, word(3), column.entries)
  column.stringCount = word(7)
  if (column.stringCount === 0) return column
  column.lengths = new Uint32Array(buffer, word(6), column.stringCount)
  column.textBytes = word(9)
  column.text = new Uint8Array(buffer, word(8), column.textBytes)
  return column
}
