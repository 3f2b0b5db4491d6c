// A real browser that does what it is told: one JSON command a line on standard input, one JSON answer a line on
// standard output. It ends when its input closes.
//
// It remembers every error of the page's console and every request to another origin, and tells them when asked.

import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import axe from 'axe-core';
import { chromium } from 'playwright-core';

const PATIENCE_MS = 20_000;
const QUIET = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

const browser = await chromium.launch({ executablePath: process.argv[2], args: QUIET });
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
page.setDefaultTimeout(PATIENCE_MS);
const faults = [];
page.on('console', (message) => {
  if (message.type() === 'error') faults.push(`console: ${message.text()}`);
});
page.on('pageerror', (error) => faults.push(`page: ${error.message}`));
page.on('request', (request) => {
  const { protocol, origin } = new URL(request.url());
  if (protocol !== 'data:' && origin !== new URL(page.url()).origin && page.url() !== 'about:blank') faults.push(`foreign request: ${request.url()}`);
});

const commands = {
  async open({ url }) {
    await page.goto(url);
    return { policy: await page.evaluate(async () => (await fetch('/')).headers.get('content-security-policy')) };
  },
  // Opens a page that is a file.
  async read({ path }) {
    await page.goto(pathToFileURL(path).href);
    return {};
  },
  // Waits until an element with this role, and this name if one is given, shows this text.
  async see({ role, name, text }) {
    await page.getByRole(role, name ? { name } : {}).filter({ hasText: text }).first().waitFor();
    return {};
  },
  // An element's accessible name must match.
  async named({ role, pattern }) {
    await page.getByRole(role, { name: new RegExp(pattern) }).first().waitFor();
    return {};
  },
  async shot({ scheme, width, height, path }) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width, height });
    // The next status draws the plots in their new size.
    await page.waitForTimeout(1500);
    await page.screenshot({ path, fullPage: true });
    return { overflow: await page.evaluate(() => document.documentElement.scrollWidth - innerWidth) };
  },
  async axe() {
    await page.evaluate(axe.source);
    const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
    const short = ({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`) });
    return { passes: passes.length, violations: violations.map(short) };
  },
  // Presses a key until what has the focus shows this text; says which presses it took.
  async reach({ key, text }) {
    for (let presses = 1; presses <= 60; presses += 1) {
      await page.keyboard.press(key);
      const focused = await page.evaluate(() => document.activeElement?.textContent ?? '');
      if (focused.trim() === text) return { presses };
    }
    throw new Error(`the focus never reached ${text}`);
  },
  // Goes to a page without looking at what it is, and says what it shows in the end.
  async visit({ url }) {
    await page.goto(url);
    return { url: page.url(), text: await page.textContent('body') };
  },
  async fill({ name, text }) {
    await page.locator(`[name="${name}"]`).fill(text);
    return {};
  },
  // Presses a button and waits until the page that it leads to is there.
  async submit({ text }) {
    await page.getByRole('button', { name: text }).first().click();
    await page.waitForLoadState('load');
    return { url: page.url(), text: await page.textContent('body') };
  },
  async press({ key }) {
    await page.keyboard.press(key);
    return {};
  },
  async faults() {
    return { faults };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    console.log(JSON.stringify({ number: command.number, ...(await commands[command.do](command)) }));
  } catch (error) {
    const picture = `${process.env.HOME}/failure.png`;
    await page.screenshot({ path: picture, fullPage: true });
    console.log(JSON.stringify({ number: command.number, error: String(error.message ?? error), picture, faults }));
  }
}
await browser.close();
