// Genesys Cloud's own client for JavaScript in front of a refusal: what it rejects with is printed as Node prints it, or
// as JSON if GENESYS_PRINT says so.
//
// GENESYS_HOST is the API, GENESYS_ACTION is `login`, or `call` with the token in GENESYS_TOKEN. NODE_PARTS is the folder
// with node_modules.

import { createRequire } from 'node:module';
import { join } from 'node:path';

const genesys = createRequire(join(process.env.NODE_PARTS, 'package.json'))('purecloud-platform-client-v2');
const { GENESYS_HOST, GENESYS_ACTION, GENESYS_TOKEN, GENESYS_PRINT } = process.env;

const client = genesys.ApiClient.instance;
const { hostname, port } = new URL(GENESYS_HOST);
client.setGateway({ host: hostname, protocol: 'http', port: Number(port), path_params_login: '', path_params_api: '' });
try {
  if (GENESYS_ACTION === 'login') {
    await client.loginClientCredentialsGrant(process.env.GENESYS_CLOUD_CLIENT_ID, process.env.GENESYS_CLOUD_CLIENT_SECRET);
  } else {
    client.setAccessToken(GENESYS_TOKEN);
    await new genesys.UsersApi().getUsersMe();
  }
} catch (error) {
  if (GENESYS_PRINT === 'json') console.log(JSON.stringify(error));
  else console.log(error);
}
