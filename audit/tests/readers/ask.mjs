// The reader that a page in a browser would take: no codec beside its own.
import { readFileSync } from 'node:fs'
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'

const rows = process.argv[2]
const file = await asyncBufferFromFile(`${rows}/parquet/payouts.parquet`)
const payouts = await parquetReadObjects({ file })
const [head, ...lines] = readFileSync(`${rows}/csv/payouts.csv`, 'utf8').trim().split('\n').map((line) => line.split(','))
const net = head.indexOf('net')
const expected = lines.reduce((sum, line) => sum + BigInt(line[net]), 0n)
const found = payouts.reduce((sum, row) => sum + row.net, 0n)
const moments = payouts.every((row) => row.block_time instanceof Date)
const same = found === expected && moments && payouts.length === lines.length
console.log(`hyparquet: sum(net) ${found}, ${payouts.length} rows: ${same ? 'same' : `DIFFERS from ${expected}`}`)
process.exit(same ? 0 : 1)
