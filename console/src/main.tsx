import '@preact/signals';
import { render } from 'preact';
import './app.css';
import { App } from './app';
import { follow } from './router';
import { begin } from './session';

begin();
follow();
render(<App />, document.getElementById('app') as HTMLElement);

if ('serviceWorker' in navigator && import.meta.env.PROD) void navigator.serviceWorker.register('/sw.js').catch(() => undefined);
