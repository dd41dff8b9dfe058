import { defineConfig } from 'vite';

// HEARTH is the server that "npm run dev" sends the API's requests to.
const server = process.env.HEARTH ?? 'http://127.0.0.1:8080';
const proxy = { '/api': server, '/health': server, '/docs': server };

export default defineConfig({
  base: '/',
  server: { proxy },
  preview: { proxy },
  build: {
    outDir: process.env.OUT ?? '../internal/console/dist',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0, // the policy allows no data: scripts or styles
    modulePreload: { polyfill: false },
    cssCodeSplit: true,
  },
});
