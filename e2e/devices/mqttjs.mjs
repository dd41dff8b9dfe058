// A device that uses MQTT.js: it reports a value, takes on the desired state and answers commands.
import mqtt from 'mqtt'

const device = mqtt.connect(process.env.BROKER, {
  clientId: 'lamp', username: process.env.TOKEN, clean: false, resubscribe: false, reconnectPeriod: 200,
  protocolVersion: Number(process.env.VERSION), properties: { sessionExpiryInterval: 3600 },
})
device.on('connect', (connack) => {
  console.log('connected', connack.returnCode ?? connack.reasonCode, connack.sessionPresent ? 1 : 0)
  if (!connack.sessionPresent) {
    device.subscribe(['c', 'd'], { qos: 1 })
    device.publish('t', '{"temperature":21.5}', { qos: 1 })
  }
})
device.on('message', (topic, payload) => {
  const content = JSON.parse(payload)
  if (topic === 'c') {
    device.publish('c/' + content.id, JSON.stringify({ ok: true, result: content.params }), { qos: 1 })
  } else if ('power' in content) {
    device.publish('r', payload, { qos: 1 })
  }
})
device.on('error', (error) => console.log(String(error)))
