// A handler as it is mostly written with the AWS SDK for JavaScript: one PostToConnection for each connection of a room,
// all of them at once.
//   node promise_all.mjs ENDPOINT SOCKETS SECONDS
import { Agent } from "node:http";

import { ApiGatewayManagementApiClient, PostToConnectionCommand } from "@aws-sdk/client-apigatewaymanagementapi";
import { NodeHttpHandler } from "@smithy/node-http-handler";

const [endpoint, sockets, seconds] = process.argv.slice(2);
const ROOM = 1000;
const WARM_UP = 1;

const client = new ApiGatewayManagementApiClient({
  endpoint,
  region: "us-east-1",
  requestHandler: new NodeHttpHandler({
    httpAgent: new Agent({ keepAlive: true, maxSockets: Number(sockets) }),
    // Only a warning, which would have to be printed.
    socketAcquisitionWarningTimeout: 60_000,
  }),
});
const body = Buffer.alloc(200, "x");
const ids = Array.from({ length: ROOM }, (_, index) => `00L${String(index).padStart(7, "0")}oAMFcg=`);

const broadcast = () =>
  Promise.all(ids.map((id) => client.send(new PostToConnectionCommand({ ConnectionId: id, Data: body }))));

const broadcastFor = async (time) => {
  const started = performance.now();
  const cpu = process.cpuUsage();
  let posts = 0;
  while (performance.now() - started < time * 1000) {
    await broadcast();
    posts += ROOM;
  }
  const used = process.cpuUsage(cpu);
  return { posts, seconds: (performance.now() - started) / 1000, cpuSeconds: (used.user + used.system) / 1e6 };
};

await broadcastFor(WARM_UP);
console.log(JSON.stringify(await broadcastFor(Number(seconds))));
process.exit(0);
