// A receiver and a sender with mqtt.js, as told on standard input; what came of it goes to standard output.
"use strict";
const fs = require("node:fs");
const mqtt = require("mqtt");

const PROPERTIES = { contentType: "text/plain", userProperties: { a: ["1", "2"], b: "3" } };

function connect({ url, version, clientId, key, secret, isKept }) {
  const kept = isKept && version === 5 ? { properties: { sessionExpiryInterval: 0xffffffff } } : {};
  return mqtt.connectAsync(url, {
    protocolVersion: version,
    clientId,
    username: key,
    password: secret,
    clean: !isKept,
    reconnectPeriod: 0,
    connectTimeout: 10_000,
    ...kept,
  });
}

async function tell({ receiver, sender, topic, foreign }) {
  const got = [];
  let arrived;
  const all = new Promise((resolve) => (arrived = resolve));
  const listen = (client) =>
    client.on("message", (_topic, payload, packet) => {
      got.push([payload.toString(), packet.qos, packet.properties?.userProperties ?? null, packet.properties?.contentType ?? null]);
      if (payload.toString() === "last") arrived();
    });
  let receiving = await connect({ ...receiver, isKept: true });
  listen(receiving);
  const granted = [];
  for (const qos of [0, 1, 2]) {
    granted.push((await receiving.subscribeAsync(`${topic}/${qos}`, { qos }))[0].qos);
  }
  const sending = await connect(sender);
  for (const to of [0, 1, 2]) {
    for (const qos of [0, 1, 2]) {
      await sending.publishAsync(`${topic}/${to}`, `${to}${qos}`, { qos, properties: sender.version === 5 ? PROPERTIES : undefined });
    }
  }
  let refused = null;
  try {
    await sending.publishAsync(foreign, "x", { qos: 1 });
  } catch (error) {
    refused = error.code;
  }
  await receiving.endAsync();
  await sending.publishAsync(`${topic}/2`, "last", { qos: 2 });
  receiving = mqtt.connect(receiver.url, { ...receiving.options });
  listen(receiving);
  await all;
  await receiving.endAsync();
  await sending.endAsync();
  return { granted, got, refused };
}

async function main() {
  const asked = JSON.parse(fs.readFileSync(0, "utf8"));
  try {
    process.stdout.write(JSON.stringify(asked.topic ? await tell(asked) : await refusal(asked)));
    process.exit(0);
  } catch (error) {
    process.stderr.write(`${error.message} (${error.code})\n`);
    process.exit(1);
  }
}

async function refusal({ sender }) {
  try {
    await connect(sender);
  } catch (error) {
    return { code: error.code };
  }
  return { code: 0 };
}

main();
