// Asks the gateway, at the container's own address, whether it lets tokens in, and prints the HTTP status of each answer.
// Input: {"port":N,"tokens":["the one to prove","a random one"]}. The second is asked only where the first is let in:
// the gateway counts the failures of an address until a success, and locks it out after ten in a minute.
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";

const { port, tokens } = JSON.parse(readFileSync(0, "utf8"));
const own = Object.values(networkInterfaces()).flat().find((i) => !i.internal && !i.address.startsWith("fe80:"));
if (!own) process.exit(93);
const host = own.family === "IPv6" ? `[${own.address}]` : own.address;

async function ask(token) {
  const answer = await fetch(`http://${host}:${port}/tools/invoke`, {
    method: "POST",
    redirect: "manual",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ tool: "sessions_list", args: {} }),
    signal: AbortSignal.timeout(10_000),
  });
  await answer.body?.cancel();
  return answer.status;
}

try {
  for (const token of tokens) {
    const status = await ask(token);
    console.log(status);
    if (status !== 200 && status !== 404) break;
  }
} catch {
  process.exit(94);
}
process.exit(0);
