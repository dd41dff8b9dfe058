// The client against a real server: HEARTH_URL, HEARTH_EMAIL and HEARTH_PASSWORD name it and an account.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client, Refused } from '../dist/index.js'

const { HEARTH_URL: url = '', HEARTH_EMAIL: email, HEARTH_PASSWORD: password } = process.env
// An access token lives for seconds here: the client renews it again and again.
const client = new Client(url, { email, password })
const skip = url === '' && 'HEARTH_URL names no server'

test('a device from its creation to its end', { skip }, async () => {
  const hall = await client.createDevice({ name: 'TS hall', type: 'thermostat', tags: ['ts'] })
  assert.equal(hall.connection, 'never')
  const cellar = { name: 'TS cellar', type: 'thermostat', tags: ['ts'] }
  const first = await client.createDevice(cellar, { idempotencyKey: 'ts-cellar' })
  assert.equal((await client.createDevice(cellar, { idempotencyKey: 'ts-cellar' })).id, first.id)
  const names = []
  for await (const device of client.allDevices({ tag: 'ts', sort: 'name', limit: 1 })) names.push(device.name)
  assert.deepEqual(names, ['TS cellar', 'TS hall'])
  const ifMatch = `"${hall.version}"`
  assert.equal((await client.updateDevice(hall.id, { name: 'TS attic' }, { ifMatch })).name, 'TS attic')
  await assert.rejects(client.updateDevice(hall.id, { name: 'late' }, { ifMatch }), { status: 412, code: 'version_mismatch' })
  await assert.rejects(client.createDevice({ name: '', type: 'x' }), (error) =>
    error instanceof Refused && error.fields[0].location === 'body.name' && error.requestID !== '')
  await client.deleteDevice(hall.id)
  await assert.rejects(client.getDevice(hall.id), { code: 'not_found' })
})

test('logs are written and counted', { skip }, async () => {
  const device = await client.createDevice({ name: 'TS meter', type: 'meter' })
  const { token } = await client.createDeviceToken(device.id)
  const refused = []
  const writer = new Client(url, { token }).writer({ size: 100, onRefused: (log) => refused.push(log.value) })
  const start = Date.now() - 600_000
  for (let i = 0; i < 250; i++) {
    await writer.write({ event: 'power', value: i === 120 ? '' : i, timestamp: new Date(start + i * 1000).toISOString() })
  }
  await writer.flush()
  assert.deepEqual(refused, [''])
  const { summary } = await client.deviceUsage(device.id, { range: '1h', event: 'power', interval: 'hour' })
  assert.deepEqual([summary.count, summary.max], [249, 249])
  await assert.rejects(writer.close(), { code: 'validation_failed' })
})

test('events are followed and continued', { skip }, async () => {
  const device = await client.createDevice({ name: 'TS lamp', type: 'lamp' })
  const next = async (options) => {
    for await (const event of client.follow({ channels: [`device:${device.id}`], signal: AbortSignal.timeout(20_000), ...options })) {
      if (event.type === 'device-log') return event
    }
  }
  const first = await next({ onOpen: () => void client.createLog(device.id, { event: 'switch', value: true }) })
  assert.equal(first.data.value, true)
  await client.createLog(device.id, { event: 'switch', value: false }) // while no one listens
  assert.equal((await next({ lastID: first.id })).data.value, false)
})
