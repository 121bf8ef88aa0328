// Opens pages in a headless Firefox over WebDriver BiDi and evaluates a function in each.
//
//     node firefox.mjs FIREFOX < visits.json
//
// visits.json: [{ url, script, before }], `script` the text of an async function without arguments, `before` what runs before
// the page's own scripts, if anything. To standard output comes
// [{ value, complaints }]: what the function gave, or { error }, and the page's console errors and exceptions.

import { createRequire } from 'node:module';
import { text } from 'node:stream/consumers';

const puppeteer = createRequire(new URL('../../web/package.json', import.meta.url))('puppeteer-core');

const visits = JSON.parse(await text(process.stdin));
const browser = await puppeteer.launch({
  browser: 'firefox',
  executablePath: process.argv[2],
  headless: true,
  protocolTimeout: 180_000,
  extraPrefsFirefox: {
    'network.captive-portal-service.enabled': false,
    'network.connectivity-service.enabled': false,
    'media.peerconnection.ice.loopback': true, // a call within a machine that may have no other network
  },
});
const results = [];
try {
  for (const { url, script, before } of visits) {
    const page = await browser.newPage();
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(`thrown: ${error.message}`));
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    const result = { complaints };
    try {
      if (before) await page.evaluateOnNewDocument(before);
      await page.goto(url);
      result.value = await page.evaluate(`(${script})()`);
    } catch (error) {
      result.error = error.message;
    }
    results.push(result);
    await page.close();
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(results));
