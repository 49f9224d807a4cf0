// Has the gateway read its secrets again, by its RPC secrets.reload, and sees what it took.
// Input: {"port":N,"tokens":[…]}: one of them is in force. It enters as what the gateway calls a trusted local backend: over
// loopback, with the shared token, without a device of its own. With exit code 92 it prints who did not take its secret.
import { readFileSync } from "node:fs";

const exits = { refused: 90, failed: 91, partly: 92, unreachable: 94, starting: 95, odd: 96 };
const { port, tokens } = JSON.parse(readFileSync(0, "utf8"));
setTimeout(() => process.exit(exits.unreachable), 45_000);

const closed = { code: "CLOSED" };

// enter resolves to a function that calls a method, or rejects with the gateway's error.
function enter(token) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`);
    const waiting = new Map();
    let last = 0;
    const call = (method, params) =>
      new Promise((answered, failed) => {
        if (socket.readyState !== WebSocket.OPEN) return failed(closed);
        const id = String(++last);
        waiting.set(id, { answered, failed });
        socket.send(JSON.stringify({ type: "req", id, method, params }));
      });
    socket.onerror = socket.onclose = () => {
      reject(closed);
      for (const { failed } of waiting.values()) failed(closed);
    };
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.event === "connect.challenge") {
        const client = { id: "gateway-client", mode: "backend", version: "1", platform: "linux" };
        call("connect", { minProtocol: 4, maxProtocol: 4, client, role: "operator", scopes: ["operator.admin"], caps: [], auth: { token } })
          .then(() => resolve(call), reject);
      } else if (frame.type === "res" && waiting.has(frame.id)) {
        const { answered, failed } = waiting.get(frame.id);
        waiting.delete(frame.id);
        if (frame.ok) answered(frame.payload);
        else failed(frame.error);
      }
    };
  });
}

async function enterWithAny(candidates) {
  for (const token of candidates) {
    try {
      return await enter(token);
    } catch (error) {
      if (error.details?.code !== "AUTH_TOKEN_MISMATCH") throw error;
    }
  }
  process.exit(exits.refused);
}

// untaken names who did not take its secret. The gateway calls a reload done, with a warning, when the secret of one of its
// parts could not be read: a part that had a value keeps it ("stale"). One that had none before and has none now ("cold") is
// not this reload's doing, unless it is the value that will not do.
async function untaken(call) {
  const { degradedSecretOwners } = await call("status", {});
  return degradedSecretOwners
    .filter((owner) => owner.degradationState === "stale" || owner.reason?.startsWith("resolved secret value"))
    .map((owner) => ({ owner: `${owner.ownerKind}:${owner.ownerId}`, stale: owner.degradationState === "stale" }));
}

try {
  const call = await enterWithAny(tokens);
  const { warningCount } = await call("secrets.reload", {}).catch((error) => {
    if (error === closed) throw error;
    process.exit(exits.failed);
  });
  if (warningCount === 0) process.exit(0);
  // A gateway with a new token closes the connections of the former one.
  const left = await untaken(call).catch(async () => untaken(await enterWithAny(tokens.toReversed())));
  if (left.length === 0) process.exit(0);
  console.log(JSON.stringify(left));
  process.exit(exits.partly);
} catch (error) {
  if (error === closed) process.exit(exits.unreachable);
  process.exit(error.code === "UNAVAILABLE" || error.details?.code === "AUTH_RATE_LIMITED" ? exits.starting : exits.odd);
}
