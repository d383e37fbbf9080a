// examples/browser: people in the tabs of one browser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { desktop, Example, fits, phone, scenario, shot, texts, unique } from "./harness.mjs";

let example;
const cleanups = [];
before(async () => {
  example = await Example.start({ after: (f) => cleanups.push(f) });
});
after(async () => {
  for (const f of cleanups) await f();
});

/** Sends from a page to a person; returns the line that says what became of it. */
async function send(page, kind, to, text) {
  const form = page.locator("#send");
  await form.locator(`input[value=${kind}]`).check();
  await form.getByLabel("To").fill(to);
  await form.getByLabel("Text").fill(text);
  await form.getByRole("button", { name: "Send" }).click();
  return page.locator("#sent li").last();
}

const became = (line, text) => texts(line.locator("i"), (list) => list[0]?.includes(text), `a line with ${text}`);
const has = (page, list, text) => page.locator(`#${list} li`).filter({ hasText: text }).waitFor();

test("two tabs chat through a group, and see each other", scenario(desktop, async (tabs) => {
  const [ada, bob] = [unique("ada"), unique("bob")];
  const first = await example.tab(tabs, ada);
  const second = await example.tab(tabs, bob);
  await first.locator("#present").getByText(bob, { exact: true }).waitFor();
  await first.locator("#present").getByText(`${ada} (you)`).waitFor();
  await first.getByPlaceholder("Say something").fill("hello everyone");
  await first.getByPlaceholder("Say something").press("Enter");
  await has(second, "lobby", "hello everyone");
  await has(first, "lobby", "hello everyone");
  await second.getByPlaceholder("Say something").fill("hello back");
  await second.getByRole("button", { name: "Say" }).click();
  await has(first, "lobby", "hello back");
  assert.equal(await first.locator("#lobby li.mine").count(), 1);
  assert.equal(await second.locator("#lobby li").count(), 2);

  await second.getByRole("button", { name: "Go offline" }).click();
  await first.locator("#present").getByText(bob, { exact: true }).waitFor({ state: "detached" });
}));

test("reliable messages wait for who is offline, and come once and in order", scenario(desktop, async (tabs) => {
  const [ada, bob] = [unique("ada"), unique("bob")];
  const sender = await example.tab(tabs, ada);
  const receiver = await example.tab(tabs, bob);
  await became(await send(sender, "realtime", bob, "you are there"), "sent");
  await has(receiver, "inbox", "you are there");

  await receiver.getByRole("button", { name: "Go offline" }).click();
  await receiver.locator("#state[data-state=offline]").waitFor();
  await became(await send(sender, "realtime", bob, "missed"), "sent");
  const lines = [];
  for (let i = 1; i <= 5; i++) {
    lines.push(`letter ${i}`);
    await became(await send(sender, "reliable", bob, `letter ${i}`), "not received yet");
  }
  assert.equal(await receiver.locator("#inbox li").count(), 1);
  await shot(receiver, "example-offline");

  await receiver.getByRole("button", { name: "Go online" }).click();
  await has(receiver, "inbox", "letter 5");
  const outcomes = await texts(sender.locator("#sent li i"), (l) => l.filter((o) => o.includes("→ received")).length === 5, "receipts");
  assert.equal(outcomes.length, 7);
  const got = await receiver.locator("#inbox li.reliable").allInnerTexts();
  assert.deepEqual(got.map((l) => l.split("\n").at(-1)), lines);
  assert.equal(await receiver.locator("#inbox").getByText("missed").count(), 0);
  await shot(sender, "example-sender");
}));

test("a question is answered by the person, or by the page", scenario(desktop, async (tabs) => {
  const [ada, bob] = [unique("ada"), unique("bob")];
  const asks = await example.tab(tabs, ada);
  const answers = await example.tab(tabs, bob);
  const first = await send(asks, "command", bob, "tea or coffee?");
  await has(answers, "inbox", "tea or coffee?");
  await shot(answers, "example-question");
  await answers.getByLabel(`Answer to ${ada}`).fill("tea");
  await answers.getByRole("button", { name: "Answer", exact: true }).click();
  await became(first, `${bob}: tea`);
  await answers.getByText("You answered: tea").waitFor();

  await answers.getByLabel("Answer questions automatically").check();
  await became(await send(asks, "command", bob, "are you there?"), `${bob}: I got “are you there?”`);

  // A question waits, too.
  await answers.getByRole("button", { name: "Go offline" }).click();
  await answers.locator("#state[data-state=offline]").waitFor();
  const waiting = await send(asks, "command", bob, "and now?");
  await became(waiting, "waiting for the answer");
  await answers.getByRole("button", { name: "Go online" }).click();
  await became(waiting, `${bob}: I got “and now?”`);
  await shot(asks, "example-answers");
}));

test("text of others is text", scenario(desktop, async (tabs) => {
  const evil = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;
  const [name, bob] = [`<b onclick=alert(3)>${unique("eve")}`, unique("bob")];
  const eve = await example.tab(tabs, name);
  const page = await example.tab(tabs, bob);
  await eve.getByPlaceholder("Say something").fill(evil);
  await eve.getByPlaceholder("Say something").press("Enter");
  await has(page, "lobby", evil);
  await page.locator("#present").getByText(name, { exact: true }).waitFor();
  const question = await send(eve, "command", bob, evil);
  await has(page, "inbox", evil);
  await page.locator("#inbox li form input").fill(evil);
  await page.getByRole("button", { name: "Answer", exact: true }).click();
  await became(question, evil);
  for (const p of [eve, page]) assert.equal(await p.locator(".log img, .log script, .log b b, #present b").count(), 0);
}));

test("the page survives a restart of the program", scenario(desktop, async (tabs, t) => {
  tabs.allow(/Failed to load resource|WebSocket connection to/); // while it is away
  const own = await Example.start(t);
  const [ada, bob] = [unique("ada"), unique("bob")];
  const sender = await own.tab(tabs, ada);
  const receiver = await own.tab(tabs, bob);
  await became(await send(sender, "reliable", bob, "before"), "→ received");
  await receiver.getByRole("button", { name: "Go offline" }).click();
  await became(await send(sender, "reliable", bob, "across"), "not received yet");
  const connection = await sender.locator("#state").getAttribute("title");
  await own.end("SIGKILL");
  await own.run();
  // The client tries to recover its connection, is told that it is gone, and
  // makes a new one.
  await sender.locator(`#state[data-state=online]:not([title="${connection}"])`).waitFor();
  await became(await send(sender, "reliable", bob, "after"), "not received yet");
  await receiver.getByRole("button", { name: "Go online" }).click();
  await has(receiver, "inbox", "after");
  const got = await receiver.locator("#inbox li.reliable").allInnerTexts();
  assert.deepEqual(got.map((l) => l.split("\n").at(-1)), ["before", "across", "after"]);
  await sender.getByPlaceholder("Say something").fill("still here");
  await sender.getByPlaceholder("Say something").press("Enter");
  await has(receiver, "lobby", "still here");
}));

test("on a phone nothing is wider than the screen", scenario({ ...phone, colorScheme: "dark" }, async (tabs) => {
  const welcome = await tabs.open(example.url);
  await welcome.getByRole("heading", { name: "Who are you?" }).waitFor();
  await fits(welcome);
  await shot(welcome, "example-welcome-phone");
  const [ada, bob] = [unique("ada"), unique("bob")];
  const page = await example.tab(tabs, ada);
  const other = await example.tab(tabs, bob);
  await other.getByPlaceholder("Say something").fill(`a long word: ${"abcdefghij".repeat(30)}`);
  await other.getByPlaceholder("Say something").press("Enter");
  await has(page, "lobby", "a long word");
  await send(other, "command", ada, `What is ${"9".repeat(200)}?`);
  await has(page, "inbox", "What is");
  await became(await send(page, "reliable", bob, "from my phone"), "→ received");
  await fits(page);
  await shot(page, "example-phone-dark");
}));

test("the welcome page leads in, with the keyboard", scenario(desktop, async (tabs) => {
  const page = await tabs.open(example.url);
  await page.getByLabel("or another name").fill("mary jane");
  await page.getByLabel("or another name").press("Enter");
  await page.locator("#state[data-state=online]").waitFor();
  assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "mary jane");
}));
