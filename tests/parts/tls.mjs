// An HTTPS server in front of a plain one, with the certificate that a test gives it, however bad.
//
// Settings come from the environment: CERT and KEY (PEM files) and UPSTREAM (an origin). The first line on standard output
// is a JSON object with the port. The process ends when its standard input does.

import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:https';

const { CERT, KEY, UPSTREAM } = process.env;
const server = createServer({ cert: readFileSync(CERT), key: readFileSync(KEY) }, (incoming, answer) => {
  const { method, url, headers } = incoming;
  const onward = request(`${UPSTREAM}${url}`, { method, headers }, (response) => {
    answer.writeHead(response.statusCode, response.headers);
    response.pipe(answer);
  });
  onward.on('error', () => answer.destroy());
  incoming.pipe(onward);
});
// A client that does not like the certificate hangs up; that is what the tests are about.
server.on('tlsClientError', () => {});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.resume().on('end', () => process.exit(0));
