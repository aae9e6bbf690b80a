// A visitor's browser, for what drives it: node SCRIPT URL SCREENSHOTS KIND. Results are lines, "ok WHAT" or "not ok WHAT: what was seen"
// (drive of tests/browser/browser.sh reads them).
//
// Wherever it goes: no message on the console, so no violation of a page's policy and no error of a script; no request to
// anybody but the pages' own site. What there was nevertheless is in complaints.
import { chromium } from "playwright-core";

export const [url, screenshots, kind] = process.argv.slice(2);
const origin = new URL(url).origin;
export const complaints = [];

export function tell(what, good, seen) {
	console.log(good ? `ok ${what}` : `not ok ${what}: ${String(seen).replace(/\s+/g, " ")}`);
}
export const is = (what, got, wanted) => tell(what, got === wanted, `got "${got}", wanted "${wanted}"`);
export const like = (what, got, pattern) => tell(what, pattern.test(got), `got "${got}", wanted ${pattern}`);

export const phone = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: "dark" };

const browser = await chromium.launch({
	executablePath: process.env.CHROMIUM,
	args: ["--disable-gpu", "--disable-dev-shm-usage", ...(process.getuid() === 0 ? ["--no-sandbox"] : [])],
});

// A visitor, with a window of their own, at a page. visitor.requests has what was asked for.
export async function visit(path, options) {
	const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
	const page = await context.newPage();
	const visitor = { context, page, requests: [] };
	page.setDefaultTimeout(15000);
	page.on("console", (message) => {
		const about = message.location().url;
		if (kind !== "files" || about !== `${origin}/favicon.ico`) // which browsers ask for beside an answer that is no page
			complaints.push(`on the console of ${page.url()}: ${message.text()} ${about}`);
	});
	page.on("pageerror", (error) => complaints.push(`error in ${page.url()}: ${error.message}`));
	page.on("request", (request) => {
		visitor.requests.push(request);
		if (new URL(request.url()).origin !== origin)
			complaints.push(`asked for ${request.url()}`);
	});
	visitor.response = await page.goto(new URL(path, url).href);
	return visitor;
}
export const shoot = (page, name) => page.screenshot({ path: `${screenshots}/${kind}-${name}.png`, fullPage: true });
// How far a page is wider than its window, in pixels: then a visitor has to scroll to the side.
export const excess = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
export const names = async (page) => (await page.locator("ul.cards .name").allTextContents()).sort().join(" ");

// Has the command of an image's page copied, by press(), which is given the button; returns what is in the clipboard then.
export async function copy(page, press) {
	await press(page.getByRole("button", { name: "Copy", exact: true }));
	await page.getByRole("button", { name: "Copied" }).waitFor();
	return page.evaluate(() => navigator.clipboard.readText());
}
export const clipboard = { permissions: ["clipboard-read", "clipboard-write"] };

// All of a script: its parts, one after the other, whatever becomes of each.
export async function go_through(parts) {
	try {
		for (const part of parts)
			await part().catch((error) => tell(part.name.replaceAll("_", " "), false, error.message));
		is("no complaint in all that, and nobody else was asked", complaints.join("; "), "");
	} finally {
		await browser.close();
	}
}
