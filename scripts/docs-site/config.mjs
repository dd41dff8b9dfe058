// The static site that is built from docs/. The program serves it under a Content-Security-Policy that allows no inline style, no
// request to another host, and no inline script but those whose hash the policy names.
const escape = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');

// section returns a group of the side bar: titles and paths in turn.
const section = (text, ...pages) => ({
  text,
  items: pages.map(([title, link]) => ({ text: title, link })),
});

// alignByClass replaces the style attribute of aligned table cells.
function alignByClass(md) {
  for (const rule of ['td_open', 'th_open']) {
    md.renderer.rules[rule] = (tokens, index, options, env, self) => {
      const style = tokens[index].attrGet('style');
      if (style) {
        tokens[index].attrs = tokens[index].attrs.filter(([name]) => name !== 'style');
        tokens[index].attrJoin('class', style.replace('text-align:', ''));
      }
      return self.renderToken(tokens, index, options);
    };
  }
}

export default {
  title: 'hearth',
  description: 'A self-hosted platform for smart devices',
  base: '/docs/guide/',
  srcDir: 'docs',
  outDir: 'dist',
  cleanUrls: true,
  lastUpdated: false,
  head: [['meta', { name: 'referrer', content: 'no-referrer' }], ['link', { rel: 'icon', href: 'data:,' }]],
  markdown: {
    // Without colours: highlighters write style attributes, which the policy refuses.
    highlight: (text) => `<pre v-pre><code>${escape(text)}</code></pre>`,
    config: alignByClass,
    linkify: false,
  },
  vite: { build: { chunkSizeWarningLimit: 1024 } },
  transformHtml: (html) => html.replaceAll(' style="--vp-vh:0px;"', '').replaceAll(' style="position:relative;"', ''),
  // The server refuses paths that end in a slash, so no page is an index.
  locales: { root: { label: 'English', lang: 'en', link: '/overview' } },
  themeConfig: {
    notFound: { title: 'Page not found', quote: 'The address names no page of this documentation.', linkText: 'Go to the overview' },
    search: { provider: 'local' },
    outline: [2, 3],
    externalLinkIcon: true,
    nav: [
      { text: 'Quick start', link: '/quickstart' },
      { text: 'Guides', link: '/guides/import' },
      { text: 'Reference', link: '/reference/configuration' },
    ],
    sidebar: [
      section('Start', ['Overview', '/overview'], ['Quick start', '/quickstart'], ['Concepts', '/concepts']),
      section('Guides',
        ['Use the console', '/guides/console'],
        ['From the factory to the first command', '/guides/first-device'],
        ['Provision devices', '/guides/provisioning'],
        ['Send logs', '/guides/logs'],
        ['Set and read state', '/guides/twin'],
        ['Connect devices by MQTT', '/mqtt'],
        ['Connect a broker', '/guides/integrations'],
        ['Send commands to devices', '/guides/commands'],
        ['Get notifications by mail, phone and chat', '/guides/notifications'],
        ['Receive events by webhook', '/guides/webhooks'],
        ['Set rules and alarms', '/guides/alarms'],
        ['Import files', '/guides/import'],
        ['Export data', '/guides/export'],
        ['Follow events live', '/guides/realtime'],
        ['Limit and archive logs', '/guides/retention'],
        ['Back up and restore', '/guides/backup'],
        ['Run a fleet', '/guides/fleet'],
        ['Call hearth from a program', '/guides/clients'],
        ['Show devices in Grafana', '/guides/grafana'],
        ['Use API keys', '/guides/api-keys'],
        ['Secure a server', '/guides/security'],
        ['Operate a server', '/guides/operations']),
      section('Reference',
        ['Configuration', '/reference/configuration'],
        ['Command line', '/reference/cli'],
        ['API', '/reference/api'],
        ['Error codes', '/reference/errors'],
        ['Metrics', '/reference/metrics'],
        ['Alerts', '/reference/alerts'],
        ['Redis keys', '/reference/redis'],
        ['MongoDB collections', '/reference/mongodb'],
        ['Backup format', '/reference/backup-format'],
        ['Security model', '/reference/security'],
        ['Reliability', '/reference/reliability']),
      section('Background',
        ['Performance', '/performance'],
        ['Scaling', '/scaling'],
        ['Architecture', '/architecture'],
        ['Decisions', '/decisions']),
    ],
  },
};
