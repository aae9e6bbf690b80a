// Drives the pages of a site in Chromium: node pages.mjs URL SCREENSHOTS KIND. Prints a line for each thing that was looked at,
// "ok WHAT" or "not ok WHAT: what was seen", and "link rondo://…", which the button "Open in Rondo" of an image has.
//
// KIND: "live" if rondo-server makes the pages, so that there is a search; "files" if they are files.
import { clipboard, complaints, copy, excess, go_through, is, kind, like, names, phone, shoot, tell, url, visit } from "./visitor.mjs";

const live = kind === "live";
const all = "bookworm:2 demo:1 hostile:1 tiny:1";

async function looks_around() {
	const { context, page, response } = await visit("");
	is("the front page is there", response.status(), 200);
	like("and has a policy, which allows nothing but its own", (await page.locator("meta[http-equiv]").getAttribute("content")) ?? "",
		/^default-src 'none'; style-src 'sha256-[^']+'; img-src 'self'; script-src 'self'/);
	if (live)
		like("also as a header, against frames", response.headers()["content-security-policy"] ?? "", /frame-ancestors 'none'/);
	is("it lists the images", await names(page), all);
	// As an element of the page, under its policy: the browser's own request for it is not seen.
	is("it has an icon", await page.locator("link[rel=icon]").evaluate((link) =>
		new Promise((done) => Object.assign(new Image(), { src: link.href, onload: () => done("shown"), onerror: done }))), "shown");
	await shoot(page, "front");
	if (live)
		await finds(page);
	await page.goto(url);
	await page.locator(".card", { hasText: "bookworm:2" }).click();
	await page.waitForURL("**/images/bookworm/**");
	like("an image has a page", await page.locator("h1").textContent(), /Debian <12> & more/);
	const text = await page.locator("main").innerText();
	for (const wanted of [/a summary/i, /Memory[^\n]*\s+512(\.0)? MiB/, /Licence\s+GPL-2.0/, /8080 http/, /Size (to boot|in all)/, /Publisher’s key/, /minisign/])
		like(`which says ${wanted.source}`, text, wanted);
	is("its versions are there, the newest first", (await page.locator("tbody tr td:first-child .mono").allTextContents()).join(" "), "2 1");
	is("Markdown of its description is markup", await page.locator(".text strong").first().textContent(), "bold");
	is("its logo is shown", await page.locator(".hero img").evaluate((i) => i.complete && i.naturalWidth), 1);
	await shoot(page, "image");
	const link = (await page.getByRole("link", { name: "Open in Rondo" }).getAttribute("href")) ?? "";
	like("a button opens it in Rondo", link, /^rondo:\/\/[^/]+\/bookworm:2@sha256:[0-9a-f]{64}#[A-Za-z0-9_-]+$/);
	console.log(`link ${link}`);
	await context.close();
}

async function finds(page) {
	await page.getByRole("searchbox").fill("summ");
	await page.getByRole("button", { name: "Search" }).click();
	await page.waitForURL("**/search?**");
	is("a search finds by the beginning of a word", await names(page), "bookworm:2");
	await shoot(page, "search");
	await page.getByRole("searchbox").fill("");
	await page.getByLabel("System").selectOption("alpine 3");
	await page.getByRole("button", { name: "Search" }).click();
	is("a filter narrows it down", await names(page), "tiny:1");
	await page.getByRole("searchbox").fill('"><script>alert(1)</script>');
	await page.getByRole("button", { name: "Search" }).click();
	is("what is typed stays text", await page.getByRole("searchbox").inputValue(), '"><script>alert(1)</script>');
	like("and what finds nothing says so", await page.getByRole("status").textContent(), /No image fits/);
}

async function copies() {
	const { context, page } = await visit("images/bookworm/", clipboard);
	const copied = await copy(page, (button) => button.click());
	is("the command is copied as it stands there", copied, await page.locator(".command code").textContent());
	like("pinned by hash and key", copied, /^rondo run 'http:\S+\/bookworm:2@sha256:[0-9a-f]{64}#[A-Za-z0-9_-]+'$/);
	console.log(`command ${copied}`);
	await context.close();
}

async function uses_keys() {
	const { context, page } = await visit("", clipboard);
	const focused = () => page.evaluate(() => document.activeElement.innerText || document.activeElement.id);
	const tab_to = async (pattern) => {
		for (let i = 0; i < 60; i++) {
			await page.keyboard.press("Tab");
			if (pattern.test(await focused()))
				return page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
		}
		return "never reached";
	};
	is("the first key goes past the head", await page.keyboard.press("Tab").then(focused), "To the content");
	if (live) {
		await page.keyboard.press("/");
		is("a slash goes to the search", await focused(), "q");
		await page.keyboard.type("demo");
		await page.keyboard.press("Enter");
		await page.waitForURL("**/search?**");
	}
	is("an image is reached by keys, and is seen to be", await tab_to(/demo:1/), "solid");
	await page.keyboard.press("Enter");
	await page.waitForURL("**/images/demo/**");
	is("so is the button that copies", await tab_to(/^Copy$/), "solid");
	like("it copies", await copy(page, () => page.keyboard.press("Enter")), /^rondo run .*demo:1@/);
	await context.close();
}

async function holds_a_phone() {
	const { context, page } = await visit("", phone);
	for (const [path, name] of [["", "front"], ["images/bookworm/", "image"], ["images/hostile/", "hostile"], ...(live ? [["search?q=e", "search"]] : [])]) {
		await page.goto(new URL(path, url).href);
		is(`on a telephone nothing of the ${name} page is out of sight`, await excess(page), 0);
		await shoot(page, `phone-${name}`);
	}
	const size = await page.goto(new URL("images/bookworm/", url).href).then(() => page.getByRole("link", { name: "Open in Rondo" }).boundingBox());
	tell("its button is large enough for a finger", size.height >= 44 && size.width >= 44, `${size.width} × ${size.height}`);
	await context.close();
}

async function does_without_scripts() {
	const { context, page, requests } = await visit("", { javaScriptEnabled: false });
	is("without scripts the images are listed", await names(page), all);
	is("the first sight takes one request", requests.filter((r) => r.resourceType() !== "image")
		.map((r) => r.url()).filter((u) => u !== new URL("icon.svg", url).href).join(" "), url); // the icon is the window's, and comes when it may
	if (live) {
		await page.getByRole("searchbox").fill("tiny");
		await page.getByRole("searchbox").press("Enter");
		await page.waitForURL("**/search?**");
		is("and found", await names(page), "tiny:1");
	}
	const body = await page.goto(new URL("images/bookworm/", url).href).then((r) => r.body());
	tell(`a page takes at most 50 KB (${body.length} bytes)`, body.length <= 50 << 10, body.length);
	is("there is no button that would do nothing", await page.getByRole("button").count(), 0);
	await context.close();
}

async function meets_hostile_texts() {
	const { context, page } = await visit("images/hostile/");
	like("what a publisher wrote stays text", await page.locator("main").innerText(), /<script>alert\("title"\)<\/script>/);
	is("none of it became an element", await page.locator("main script, main iframe, main [onerror], main a[href^='javascript']").count(), 0);
	await context.close();
}

async function goes_astray() {
	const before = complaints.length;
	const { context, page, response } = await visit("images/nothing/");
	is("an image that is not there is missing", response.status(), 404);
	complaints.splice(before); // the browser says on the console that it is
	if (live) {
		await page.getByRole("link", { name: "See all images" }).click();
		is("its page leads back", await names(page), all);
	}
	await context.close();
}

// The same functions make both kinds, so of files only what is theirs is looked at.
await go_through(live
	? [looks_around, copies, uses_keys, holds_a_phone, does_without_scripts, meets_hostile_texts, goes_astray]
	: [looks_around, does_without_scripts, goes_astray]);
