// The centrifuge package under Node: connects, subscribes, and writes what it sees as JSON lines.
// usage: node node.mjs URL TOKEN CHANNEL
import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

const [url, token, channel] = process.argv.slice(2);
const say = (what) => console.log(JSON.stringify(what));

const client = new Centrifuge(url, { token, websocket: WebSocket, minReconnectDelay: 10, maxReconnectDelay: 100 });
client.on('subscribed', (ctx) => say({ joined: ctx.channel, missed: ctx.wasRecovering && !ctx.recovered }));
client.on('publication', (ctx) => say({ channel: ctx.channel, event: ctx.data }));
client.on('disconnected', (ctx) => say({ disconnected: ctx.code }));

const subscription = client.newSubscription(channel);
subscription.on('subscribed', (ctx) => say({ joined: channel, missed: ctx.wasRecovering && !ctx.recovered }));
subscription.on('publication', (ctx) => say({ channel, event: ctx.data }));
subscription.subscribe();

const foreign = client.newSubscription('device:00000000-0000-7000-8000-000000000000');
foreign.on('unsubscribed', (ctx) => say({ refused: ctx.code }));
foreign.subscribe();

client.connect();
process.stdin.on('end', () => process.exit(0)).resume();
