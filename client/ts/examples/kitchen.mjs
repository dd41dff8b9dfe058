// Makes a device, reports values of it, watches it live, and sums it up.
//
//	HEARTH_URL=http://127.0.0.1:8080 HEARTH_EMAIL=… HEARTH_PASSWORD=… node examples/kitchen.mjs
import { Client } from 'hearth-client'

const { HEARTH_URL: url, HEARTH_EMAIL: email, HEARTH_PASSWORD: password } = process.env
const client = new Client(url, { email, password })
const device = await client.createDevice({ name: 'Kitchen', type: 'thermostat', tags: ['example'] })

/** Reports ten values; a real program would measure them. */
async function report() {
  const writer = client.writer()
  for (let i = 0; i < 10; i++) await writer.write({ device_id: device.id, event: 'temperature', value: 20 + i / 10 })
  await writer.close()
}

for await (const event of client.follow({ channels: [`device:${device.id}`], onOpen: report })) {
  if (event.type === 'device-log' && event.data.value === 20.9) break
}
const { summary } = await client.deviceUsage(device.id, { range: '1h', event: 'temperature', interval: 'hour' })
console.log(`${summary.count} values, ${summary.average.toFixed(1)} on average`)
await client.deleteDevice(device.id)
