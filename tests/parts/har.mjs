// A real browser that records what it does as a HAR: one JSON command a line on standard input, one JSON answer a line
// on standard output. The file is written when the input closes.
//
// The page is whatever the first address answers with; what it fetches from there has the same origin.

import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [, , executablePath, path] = process.argv;
const args = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-sync'];
const browser = await chromium.launch({ executablePath, args });
const context = await browser.newContext({ recordHar: { path } });
const page = await context.newPage();

const commands = {
  async open({ url }) {
    return { status: (await page.goto(url)).status() };
  },
  async fetch({ url, options }) {
    return page.evaluate(async ([url, options]) => {
      const answer = await fetch(url, options);
      return { status: answer.status, text: await answer.text() };
    }, [url, options]);
  },
};

console.log('{"ready":true}');
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  console.log(JSON.stringify({ number: command.number, ...(await commands[command.do](command)) }));
}
await context.close();
await browser.close();
