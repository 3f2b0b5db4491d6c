// A person who logs in: `NODE_PARTS=FOLDER node person.mjs BROWSER ADDRESS` opens the address in a real browser, signs in as `ada` and
// agrees to whatever the provider asks. It ends well once a page asks for nothing any more, and with 1 if that is an error
// or does not happen within 40 seconds. NODE_PARTS is the folder with node_modules.

import { createRequire } from 'node:module';
import { join } from 'node:path';

const { chromium } = createRequire(join(process.env.NODE_PARTS, 'package.json'))('playwright-core');

const PATIENCE_MS = 40_000;
const [executablePath, address] = process.argv.slice(2);

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--no-first-run'] });
const page = await browser.newPage();
page.setDefaultTimeout(PATIENCE_MS);
const until = Date.now() + PATIENCE_MS;

let answer = await page.goto(address);
for (;;) {
  const button = page.locator('button[type=submit]').first();
  if (await button.count() === 0) break;
  if (Date.now() > until) throw new Error(`${page.url()} goes on asking`);
  if (await page.locator('input[name=login]').count() > 0) {
    await page.fill('input[name=login]', 'ada');
    await page.fill('input[name=password]', 'any');
  }
  [answer] = await Promise.all([page.waitForNavigation(), button.click()]);
}
console.log((await page.innerText('body')).trim());
await browser.close();
process.exitCode = answer?.ok() ? 0 : 1;
