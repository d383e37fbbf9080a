import { WebPubSubClient } from "@azure/web-pubsub-client";

const device = new WebPubSubClient(process.argv[2]); // in a browser: a URL that your backend hands out
device.on("server-message", ({ message: { data } }) => {
  if (data.kind === "reliable") console.log("message", data.id, data.payload);
  if (data.kind === "command") device.sendEvent("response", { requestId: data.requestId, data: "fine" }, "json");
});
await device.start();
