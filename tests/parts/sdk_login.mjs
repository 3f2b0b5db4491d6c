// Genesys Cloud's own client for JavaScript, configured by its own file alone: it logs in and makes 200 calls, or
// as many as CALLS says.
//
// The file in the home folder names a gateway. Nothing here does. The client logs in once with the client credentials
// grant and calls five methods in turn; it neither refreshes nor repeats anything. When the calls are done it prints a
// JSON object with every failure and with what it holds as its access token, and stays alive, so that its memory can be
// looked at, until standard input closes. NODE_PARTS is the folder with node_modules.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const genesys = createRequire(join(process.env.NODE_PARTS, 'package.json'))('purecloud-platform-client-v2');

const CALLS = Number(process.env.CALLS ?? 200);
const PAUSE_MS = 120;

const client = genesys.ApiClient.instance;
await client.loginClientCredentialsGrant(process.env.GENESYS_CLOUD_CLIENT_ID, process.env.GENESYS_CLOUD_CLIENT_SECRET);

const users = new genesys.UsersApi();
const organization = new genesys.OrganizationApi();
const tokens = new genesys.TokensApi();
const analytics = new genesys.AnalyticsApi();
const report = { calls: 0, posts: 0, failures: [], held: client.authData.accessToken };

// A POST whose execution the provider counts by this header.
const query = async () => {
  report.posts += 1;
  client.defaultHeaders = { 'sim-effect': `javascript-${report.posts}` };
  await analytics.postAnalyticsConversationsDetailsQuery({ interval: '2026-01-01T00:00:00Z/2026-01-02T00:00:00Z' });
  client.defaultHeaders = {};
};

const methods = [
  () => users.getUsersMe(),
  () => users.getUsers({ pageSize: 25, pageNumber: 2 }),
  () => organization.getOrganizationsMe(),
  () => tokens.getTokensMe(),
  query,
];

for (let number = 0; number < CALLS; number += 1) {
  report.calls += 1;
  try {
    await methods[number % methods.length]();
  } catch (error) {
    report.failures.push(`call ${number}: ${JSON.stringify(error).slice(0, 2000)} ${error}`);
  }
  await pause(PAUSE_MS);
}

console.log(JSON.stringify(report));
for await (const _ of process.stdin);
process.exit(0);
