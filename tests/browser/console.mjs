// A machine that is tried in Chromium: node console.mjs URL SCREENSHOTS KIND. From the image's page to a shell of the guest; then
// it prints "shown", waits for a line on standard input, and for the server to end: "closed 1001".
import { excess, go_through, is, like, phone, shoot, tell, url, visit } from "./visitor.mjs";
import { once } from "node:events";

const BOOT_MS = 240000; // without KVM, on a busy machine

async function has_no_scripts() {
	const { context, page } = await visit("try/tiny", { javaScriptEnabled: false });
	like("without scripts the page says what it needs", await page.locator("main").innerText(), /needs JavaScript/);
	is("and has no button that would do nothing", await page.getByRole("button").count(), 0);
	await shoot(page, "try-no-scripts");
	await context.close();
}

async function looks_with_a_phone() {
	const { context, page } = await visit("images/tiny/", phone);
	is("on a telephone nothing of the image's page is out of sight", await excess(page), 0);
	const size = await page.getByRole("link", { name: "Try it in the browser" }).boundingBox();
	tell("its button is large enough for a finger", size.height >= 44 && size.width >= 44, `${size.width} × ${size.height}`);
	await shoot(page, "phone-try-image");
	await context.close();
}

async function tries_it() {
	const { context, page } = await visit("images/tiny/");
	await shoot(page, "try-image");
	await page.getByRole("link", { name: "Try it in the browser" }).click();
	await page.waitForURL("**/try/tiny");
	like("a click leads from the image to its terminal", await page.locator("h1").textContent(), /^Try tiny in the browser$/);
	await shoot(page, "try-before");
	await page.getByRole("button", { name: "Start the machine" }).click();
	const shows = (text, timeout) => page.locator(".xterm-rows", { hasText: text }).waitFor({ timeout });
	await page.getByRole("status").filter({ hasText: "The machine runs" }).waitFor();
	await shows("login:", BOOT_MS);
	await page.keyboard.type("root\n");
	await shows("# ");
	await page.keyboard.type("expr 6 \\* 7111\n");
	await shows("42666");
	tell("a command is typed, and its output shown", true);
	await shoot(page, "try-shell");
	await page.emulateMedia({ colorScheme: "dark" });
	await shoot(page, "try-shell-dark");
	await page.setViewportSize(phone.viewport);
	is("in a window that becomes narrow, nothing is out of sight", await excess(page), 0);
	const [inner, outer] = await Promise.all([".xterm-screen", "#terminal"].map((s) => page.locator(s).boundingBox()));
	tell("nor of the terminal", inner.x >= outer.x && inner.x + inner.width <= outer.x + outer.width, JSON.stringify([inner, outer]));
	await shoot(page, "phone-try-shell");
	await page.keyboard.press("Control+]");
	is("a key leaves the terminal", await page.evaluate(() => document.activeElement.id), "stop");
	console.log("shown");
	await once(process.stdin, "data");
	await page.getByRole("status").filter({ hasText: "has stopped" }).waitFor();
	console.log("closed 1001");
	await context.close();
}

await go_through([has_no_scripts, looks_with_a_phone, tries_it]);
process.exit();
